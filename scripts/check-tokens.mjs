// Has both services take tokens of a real OpenID provider, npm's oidc-provider, beside keys. `.ci/run` calls it, with
// oidc-provider under target/tools/npm; it starts the provider and then itself beside a stack of with-local-stack.sh.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';

const AUDIENCES = { vehicle: 'urn:threadpilot:vehicle', insurance: 'urn:threadpilot:insurance' };
// Set where the provider is there already.
const ISSUER = process.env.CHECK_TOKENS_ISSUER;
const CLIENT = { id: 'core-system', secret: 'of-no-use-elsewhere' };
const INSURANCE = { id: 'insurance-service', secret: CLIENT.secret };
// Seconds: Insurance's own tokens are told by theirs.
const LIVES = { [CLIENT.id]: 300, [INSURANCE.id]: 400 };

async function provide() {
  const found = createRequire(fileURLToPath(new URL('../target/tools/npm/', import.meta.url))).resolve('oidc-provider');
  const { Provider } = await import(pathToFileURL(found));
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const provider = new Provider(issuer, {
    clients: [CLIENT, INSURANCE].map(({ id, secret }) => ({
      client_id: id,
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience, client) => ({
          audience,
          scope: 'read write',
          accessTokenFormat: 'jwt',
          accessTokenTTL: LIVES[client.clientId],
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    jwks: { keys: [{ ...key, kid: 'first', use: 'sig', alg: 'RS256' }] },
  });
  server.on('request', provider.callback());
  const settings = (service) => Object.entries({
    ISSUER: issuer, AUDIENCE: AUDIENCES[service], SUBJECT_KEY: 'subject-key-of-check-tokens-0123456789',
  }).map(([name, value]) => [`${service.toUpperCase()}__TOKENS__${name}`, value]);
  // Insurance's own, in the place of its key for Vehicle.
  const own = Object.entries({
    URL: `${issuer}/token`, CLIENT_ID: INSURANCE.id, CLIENT_SECRET: INSURANCE.secret, RESOURCE: AUDIENCES.vehicle,
  }).map(([name, value]) => [`INSURANCE__VEHICLE_CLIENT__TOKEN__${name}`, value]);
  const given = Object.fromEntries([...Object.keys(AUDIENCES).flatMap(settings), ...own]);
  const env = { ...process.env, ...given, CHECK_TOKENS_ISSUER: issuer };
  const stack = fileURLToPath(new URL('with-local-stack.sh', import.meta.url));
  const child = spawn(stack, [process.execPath, fileURLToPath(import.meta.url)], { env, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  server.close();
  server.closeAllConnections();
  process.exitCode = code ?? 1;
}

async function token(audience, scope) {
  const answer = await fetch(`${ISSUER}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: audience, scope }),
  });
  const granted = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(granted));
  return granted.access_token;
}

const bearer = (value) => ({ authorization: `Bearer ${value}` });

async function check() {
  const { VEHICLE_URL, INSURANCE_URL, API_KEY } = process.env;
  const car = `${VEHICLE_URL}/api/v1/vehicles/ABC123`;
  const person = `${INSURANCE_URL}/api/v1/insurances/199001011234`;
  const ask = async (url, headers, options = {}) => {
    const answer = await fetch(url, { headers, ...options });
    return { status: answer.status, body: await answer.json(), challenges: answer.headers.get('www-authenticate') };
  };
  const until = async (what, holds) => {
    for (const limit = Date.now() + 30_000; !await holds();) {
      assert.ok(Date.now() < limit, what);
      await setTimeout(100);
    }
  };
  for (const url of [VEHICLE_URL, INSURANCE_URL]) {
    await until(`${url} knows the provider's keys`, async () => {
      const { body } = await ask(`${url}/readyz`);
      return body.checks.find(({ name }) => name === 'tokens').status === 'pass';
    });
  }
  const [toVehicle, toInsurance] = await Promise.all(Object.values(AUDIENCES).map((it) => token(it, 'read')));
  const longestLife = async () => {
    const metrics = await (await fetch(`${VEHICLE_URL}/metrics`)).text();
    return Number(metrics.match(/^token_life_max_seconds(?:{.*})? (\d+)$/m)[1]);
  };
  assert.equal((await ask(car, bearer(toVehicle))).body.make, 'Volvo');
  assert.equal(await longestLife(), LIVES[CLIENT.id]);
  const profile = await ask(person, bearer(toInsurance));
  assert.equal(profile.status, 200);
  assert.equal(profile.body.insurances[0].vehicle.make, 'Volvo');
  assert.equal(await longestLife(), LIVES[INSURANCE.id]);
  console.log('ok: a token of each service opens it, and Insurance calls Vehicle with its own');

  for (const [url, own, other] of [[car, toVehicle, toInsurance], [person, toInsurance, toVehicle]]) {
    assert.equal((await ask(url, { 'x-api-key': API_KEY })).status, 200);
    const strange = await ask(url, bearer(other));
    assert.equal(strange.status, 401);
    assert.match(strange.body.detail, /not for this service/);
    const changed = await ask(url, bearer(`${own.slice(0, -8)}AAAAAAAA`));
    assert.equal(changed.status, 401);
    assert.match(changed.body.detail, /signature is wrong/);
    const none = await ask(url, {});
    assert.equal(none.challenges, 'Bearer realm="threadpilot", ApiKey');
    assert.equal((await ask(url, { ...bearer(other), 'x-api-key': API_KEY })).body.code, 'ambiguous_credentials');
  }
  console.log('ok: a token of the other service, a changed one, none, and one beside a key');

  const change = {
    method: 'PUT', body: JSON.stringify({ make: 'Saab', model: null, modelYear: 2011 }),
  };
  const headers = { 'content-type': 'application/json', 'if-none-match': '*' };
  const register = `${VEHICLE_URL}/api/v1/vehicles/TOK123`;
  const lacking = await ask(register, { ...headers, ...bearer(toVehicle) }, change);
  assert.equal(lacking.status, 403);
  assert.match(lacking.challenges, /error="insufficient_scope", scope="write"/);
  const writes = bearer(await token(AUDIENCES.vehicle, 'write'));
  assert.equal((await ask(register, { ...headers, ...writes }, change)).status, 201);
  const audit = `${VEHICLE_URL}/api/v1/audit/events?actor=${encodeURIComponent(`token/${CLIENT.id}`)}`;
  await until('the audit knows the subject', async () => {
    const { events } = (await ask(audit, { 'x-api-key': API_KEY })).body;
    return events.length === 1;
  });
  console.log('ok: a change needs its scope and is its subject\'s');
}

if (ISSUER) await check();
else await provide();
