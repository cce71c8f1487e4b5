// Has Postman's converter read both OpenAPI documents and sends every request that it makes of them: first the changes, in an
// order in which each finds what those before it have made, then all others. Each has to be answered well. `.ci/run` calls it
// beside a fresh stack of with-local-stack.sh.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const { VEHICLE_URL, INSURANCE_URL, VEHICLE_KEY, INSURANCE_KEY, OPERATIONS_KEY } = process.env;
const services = {
  vehicle: { url: VEHICLE_URL, key: VEHICLE_KEY },
  insurance: { url: INSURANCE_URL, key: INSURANCE_KEY },
};
// Operations, with the names of their examples.
const order = [
  ['put_vehicle', 'saab'],
  ['set_price', 'car'],
  ['draft_policy', 'car'],
  ['patch_policy', 'end'],
  ['move_policy', 'activate'],
  ['move_policy', 'suspend'],
  ['move_policy', 'resume'],
  ['change_policy', 'car'],
  ['move_policy', 'cancel'],
  ['erase_person', 'person'],
  ['set_vehicle_guard', 'isolate'],
  ['set_vehicle_guard', 'release'],
  ['set_consumer', 'pause'],
  ['set_consumer', 'follow'],
];
const last = ['delete_vehicle'];
const filters = { list_policies: ['carRegistrationNumber'], find_audited_events: ['aggregateType', 'aggregateId'] };
// In the first minute there is no checkpoint yet, and nothing that could not be applied.
const unsigned = ['get_checkpoint', 'get_consistency_proof', 'get_inclusion_proof'].map((id) => [id, 409]);
const missing = ['get_dead_letter', 'retry_dead_letter', 'resolve_dead_letter', 'discard_dead_letter'].map((id) => [id, 404]);
const off = [['start_replay', 409], ['get_replay', 404], ['cancel_replay', 404]];
const refused = new Map([...unsigned, ...missing, ...off]);

const operations = Object.keys(services).flatMap(read);
const named = (id) => operations.find((it) => it.id === id) ?? fail(`no operation ${id}`);
const changes = order.map(([id, example]) => request(named(id), example));
const known = new Set([...order.map(([id]) => id), ...last]);
const others = operations.filter(({ id }) => !known.has(id)).map((it) => request(it));
const collection = {
  info: { name: 'ThreadPilot', schema: 'https://schema.getpostman.com/json/collection/v2.1.0/collection.json' },
  item: [...changes, ...others, ...last.map((id) => request(named(id)))],
};
writeFileSync('target/postman.json', JSON.stringify(collection));
run('newman@6.2.2', 'run', 'target/postman.json', '--color', 'off', '--reporter-cli-no-banner');

function run(tool, ...rest) {
  execFileSync('npx', ['--yes', tool, ...rest], { stdio: ['ignore', 'inherit', 'inherit'] });
}

function fail(text) {
  throw new Error(text);
}

// The operations of a service, with the requests that Postman's converter makes of them.
function read(service) {
  const [source, converted] = [`docs/api/${service}.openapi.json`, `target/${service}.postman.json`];
  execFileSync('npx', ['--yes', 'openapi-to-postmanv2@6.3.3', '-s', source, '-o', converted, '-O',
    'folderStrategy=Tags,parametersResolution=Example,enableOptionalParameters=false'], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [document, { item }] = [source, converted].map((file) => JSON.parse(readFileSync(file)));
  const items = (folder) => folder.flatMap((it) => (it.item ? items(it.item) : it));
  const made = items(item);
  return Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => {
    const parts = path.slice(1).replaceAll(/{(\w+)}/g, ':$1');
    const found = made.find(({ request: it }) => it.method === method.toUpperCase() && it.url.path.join('/') === parts);
    return { id: operation.operationId, service, operation, document, item: found ?? fail(`no request ${method} ${path}`) };
  }));
}

// A request as a person would send it: to the service, with a key that may, the example as its body, the version and the event that
// answers before it have told, one of two headers where either will do, and a filter where one is wanted.
function request({ id, service, operation, document, item }, example) {
  const made = structuredClone(item);
  const { header, url, body } = made.request;
  const { url: base, key } = services[service];
  const isFor = (name) => operation.security?.some((way) => name in way);
  url.host = [base];
  made.name = [service, id, example].filter(Boolean).join(' ');
  made.request.auth = { type: 'noauth' };
  const value = isFor('apiKey') ? key : isFor('operationsKey') && OPERATIONS_KEY;
  if (value) header.push({ key: 'X-Api-Key', value });
  if (example) {
    body.raw = JSON.stringify(document.components.examples[`${id}.request.${example}`].value);
  }
  for (const it of header) {
    if (it.key === 'If-Match' && !it.disabled && it.value !== '*') it.value = `{{${service}-ETag}}`;
    if (it.key === 'If-None-Match' && it.value === '*') it.disabled = false;
    if (it.key === 'Idempotency-Key') it.value = `${id}-${example}-of-postman`;
  }
  for (const it of url.variable.filter(({ key: name }) => name === 'eventId')) it.value = `{{${service}-Event-Id}}`;
  for (const it of url.query) it.disabled &&= !(filters[id] ?? []).includes(it.key);
  const good = refused.has(id) ? `pm.expect(pm.response.code).to.be.oneOf([200, 202, ${refused.get(id)}])` : 'pm.response.to.be.success';
  const exec = [`pm.test(pm.info.requestName, () => ${good});`,
    'const { headers } = pm.response;',
    `if (headers.has("Event-Id")) ["ETag", "Event-Id"].forEach((it) => pm.collectionVariables.set("${service}-" + it, headers.get(it)));`];
  made.event = [{ listen: 'test', script: { exec } }];
  return made;
}
