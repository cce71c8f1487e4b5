// Opens both Swagger pages in a headless Chromium, authorizes, executes the documented examples and
// reads the answers. No request may leave this machine, and the console may show no error. `.ci/run`
// calls it, with playwright-core on NODE_PATH, beside the stack of with-local-stack.sh.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const { chromium } = createRequire(import.meta.url)('playwright-core');
const { CHROMIUM, VEHICLE_URL, INSURANCE_URL, API_KEY, OPERATIONS_KEY } = process.env;

// What an answer has told for the next request: parameters by their names.
const told = {};
const isPolicy = (status) => (policy) => assert.equal(policy.status, status);

const volvo = { registrationNumber: 'ABC123', make: 'Volvo', model: 'XC60', modelYear: 2021 };
const examples = [
  [VEHICLE_URL, 'get_vehicle', (vehicle) => assert.deepEqual(vehicle, volvo)],
  [VEHICLE_URL, 'find_vehicles', (batch) => assert.deepEqual(batch.vehicles[0], volvo)],
  [VEHICLE_URL, 'put_vehicle', (vehicle) => assert.equal(vehicle.registrationNumber, 'JKL012')],
  [INSURANCE_URL, 'get_insurances', (profile) => assert.deepEqual(profile.insurances[0].vehicle, volvo)],
  [INSURANCE_URL, 'look_up_insurances', (profile) => assert.deepEqual(profile.insurances[0].vehicle, volvo)],
  // With the other key, which is entered beside the first one.
  [INSURANCE_URL, 'set_price', (price) => assert.equal(price.product, 'car')],
  [INSURANCE_URL, 'draft_policy', isPolicy('draft')],
  [INSURANCE_URL, 'patch_policy', isPolicy('draft')],
  [INSURANCE_URL, 'move_policy', isPolicy('active'), 'activate'],
  [INSURANCE_URL, 'move_policy', isPolicy('suspended'), 'suspend'],
  [INSURANCE_URL, 'move_policy', isPolicy('active'), 'resume'],
  [INSURANCE_URL, 'change_policy', isPolicy('active')],
  [INSURANCE_URL, 'move_policy', isPolicy('cancelled'), 'cancel'],
  [INSURANCE_URL, 'set_vehicle_guard', (guard) => assert.equal(guard.mode, 'isolated'), 'isolate'],
  [INSURANCE_URL, 'set_vehicle_guard', (guard) => assert.equal(guard.mode, 'automatic'), 'release'],
];

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
try {
  for (const url of [VEHICLE_URL, INSURANCE_URL]) {
    const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
    page.setDefaultTimeout(20_000);
    const [strangers, errors] = [[], []];
    let requests = 0;
    page.on('request', (request) => {
      requests += 1;
      const to = new URL(request.url());
      if (to.protocol !== 'data:' && to.hostname !== '127.0.0.1') strangers.push(request.url());
    });
    page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
    page.on('pageerror', (error) => errors.push(String(error)));

    await page.goto(`${url}/swagger/`);
    await authorize(page);
    for (const [at, operation, check, example] of examples) {
      if (at !== url) continue;
      const [block, response] = await execute(page, operation, example);
      const answer = block.locator('.live-responses-table .response').first();
      assert.match(await answer.locator('.response-col_status').innerText(), /^20[01]/, operation);
      const body = JSON.parse(await answer.locator('.response-col_description .highlight-code code').first().innerText());
      check(body);
      if (body.insuranceId) Object.assign(told, { insuranceId: `${body.insuranceId}`, 'If-Match': response.headers().etag });
      console.log(`ok: ${operation}: ${JSON.stringify(body)}`);
      await block.locator('.opblock-summary-control').click();
    }
    assert(requests > 0);
    assert.deepEqual(strangers, [], 'requests left this machine');
    assert.deepEqual(errors, [], 'the console shows errors');
    await page.close();
  }
} finally {
  await browser.close();
}

async function authorize(page) {
  await page.locator('.auth-wrapper .btn.authorize').click();
  for (const [scheme, key] of [['apiKey', API_KEY], ['operationsKey', OPERATIONS_KEY]]) {
    const entry = page.locator('.auth-container').filter({ has: page.locator('h4 code', { hasText: scheme }) });
    if (await entry.count() === 0) continue;
    await entry.locator('input').fill(key);
    await entry.locator('button[type=submit]').click();
  }
  await page.locator('.auth-container .btn-done').first().click();
}

async function execute(page, operation, example) {
  const block = page.locator(`.opblock[id$="-${operation}"]`);
  await block.locator('.opblock-summary-control').click();
  // Until it is there, the parameters are not, either.
  await block.locator('.btn.execute').waitFor();
  // The answer before this one would be taken for it.
  const shown = block.locator('.live-responses-table');
  if (await shown.count() > 0) await block.locator('.btn-clear').click();
  await shown.waitFor({ state: 'detached' });
  if (example) await block.locator('.opblock-section-request-body .examples-select-element').selectOption(example);
  for (const [name, value] of Object.entries({ ...told, 'Idempotency-Key': `${example ?? operation}-of-check-swagger` })) {
    const parameter = block.locator(`tr[data-param-name="${name}"] input`);
    if (await parameter.count() > 0) await parameter.fill(value);
  }
  const answered = page.waitForResponse((it) => it.url().includes('/api/v1/'));
  await block.locator('.btn.execute').click();
  const response = await answered;
  await shown.waitFor();
  return [block, response];
}
