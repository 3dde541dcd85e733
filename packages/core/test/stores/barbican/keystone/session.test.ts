import { FakeClock, rejectsWithCode, until } from '@teapot-kms/testing';
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { errorBody } from '../../../../src/stores/barbican/keystone/answers.ts';
import { CloudConfiguration, cloudSettings } from '../../../../src/stores/barbican/keystone/configuration.ts';
import { KeystoneSession } from '../../../../src/stores/barbican/keystone/session.ts';

/** What Keystone does with the next logins; `undefined`: it issues a token that is valid for an hour. */
let trouble: ((response: ServerResponse) => void) | undefined;
let logins = 0;
const server = createServer((request, response) => {
  request.resume().on('end', () => {
    const sent = request.headers['x-auth-token'];
    if (sent !== undefined) return response.writeHead(403).end(`no: ${String(sent)}`);
    logins++;
    if (trouble) return trouble(response);
    const times = { issued_at: '2026-01-01T00:00:00.000000Z', expires_at: '2026-01-01T01:00:00.000000Z' };
    const token = { ...times, user: { id: 'u', name: 'kms' }, roles: [], catalog: [] };
    response.writeHead(201, { 'x-subject-token': `token-${String(logins)}` }).end(JSON.stringify({ token }));
  });
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as { port: number };
const url = `http://127.0.0.1:${String(port)}`;
const OS = { OS_AUTH_URL: url, OS_KEY_MANAGER_ENDPOINT_OVERRIDE: url, OS_USERNAME: 'kms', OS_PASSWORD: 'hunter2' };

const { signal } = new AbortController();
let clock = new FakeClock();
let session = newSession();

function newSession(): KeystoneSession {
  clock = new FakeClock();
  return new KeystoneSession(new CloudConfiguration(cloudSettings.parse({}), OS), clock);
}

test.before.each(() => {
  trouble = undefined;
  logins = 0;
  session = newSession();
});
test.after.each(() => session.close());
test.after(() => {
  server.closeAllConnections();
  server.close();
});

test('a token lives by the monotonic clock, whatever happens to the wall clock', async () => {
  const { value } = await session.token(signal);
  clock.wallAtStart += 100 * 3_600_000;
  assert.is((await session.token(signal)).value, value);
  clock.wallAtStart -= 200 * 3_600_000;
  assert.is((await session.token(signal)).value, value);
  assert.is(logins, 1);
});

test('the skew is the difference between the wall clock and the time that Keystone wrote', async () => {
  clock.wallAtStart = Date.UTC(2026, 0, 1) + 300_000;
  assert.is((await session.token(signal)).clockSkewMs, 300_000);
});

test('a token that is about to end is not used any more', async () => {
  const { value } = await session.token(signal);
  await clock.advance(3_600_000 - 4_000);
  assert.is.not((await session.token(signal)).value, value);
});

test('a login without verified certificates is reported once, and not at each renewal', async () => {
  const reported: unknown[] = [];
  const configuration = new CloudConfiguration(cloudSettings.parse({}), { ...OS, OS_INSECURE: 'true' });
  const insecure = new KeystoneSession(configuration, clock, (event) => reported.push(event));
  await insecure.token(signal);
  assert.is(await insecure.verifiesCertificates(signal), false);
  await clock.advance(3_600_000);
  await insecure.token(signal);
  assert.is(logins, 2);
  assert.equal(reported, [{ type: 'certificates-not-verified', where: 'the environment (OS_*)' }]);
  insecure.close();
});

// Not a loopback address by its name, and yet this host.
const elsewhere = url.replace('127.0.0.1', '0.0.0.0');
for (const [what, environment, urls] of [
  ['endpoint', { OS_KEY_MANAGER_ENDPOINT_OVERRIDE: 'http://barbican.example' }, ['http://barbican.example']],
  ['auth URL', { OS_AUTH_URL: elsewhere }, [`${elsewhere}/v3`]],
  ['address of this host', {}, []],
] as const) {
  test(`an http: ${what}: ${urls.length > 0 ? 'reported once, with the URL' : 'nothing is reported'}`, async () => {
    const reported: { type: string; text?: string }[] = [];
    const configuration = new CloudConfiguration(cloudSettings.parse({}), { ...OS, ...environment });
    const plain = new KeystoneSession(configuration, clock, (event) => reported.push(event));
    await plain.token(signal);
    await clock.advance(3_600_000);
    await plain.token(signal);
    assert.equal(await plain.plainUrls(signal), urls);
    assert.equal(
      reported.map(({ type, text }) => [type, text]),
      urls.map((one) => [
        'secret-exposed',
        `${one} without TLS: passwords, tokens and keys cross the network in the clear`,
      ]),
    );
    plain.close();
  });
}

test('a password that Keystone repeats in an error is in no message', async () => {
  const configuration = new CloudConfiguration(cloudSettings.parse({}), { ...OS, OS_PASSWORD: 'hunter2' });
  const repeating = new KeystoneSession(configuration, clock);
  trouble = (response) => response.writeHead(401).end('{"error":{"message":"no hunter2 here"}}');
  const { message } = await rejectsWithCode(() => repeating.token(signal), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'no ******* here');
  repeating.close();
});

for (const status of [200, 302, 401]) {
  test(`a password that Keystone repeats in an answer with ${String(status)} is in no message`, async () => {
    trouble = (response) => response.writeHead(status).end('wrong password hunter2 of kms');
    const { message } = await rejectsWithCode(() => session.token(signal), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(message, 'wrong password ******* of kms');
  });
}

test('a token that Barbican repeats is not in what it says', async () => {
  const answer = await session.keyManager({ method: 'GET', path: '/refuses', signal });
  const { value } = await session.token(signal);
  assert.match(answer.body.toString(), value);
  assert.is(errorBody(answer).text, `no: ${'*'.repeat(value.length)}`);
});

test('a login that gets no answer ends after 10 s', async () => {
  trouble = () => undefined;
  const token = rejectsWithCode(() => session.token(signal), 'ERR_KMS_STORE_UNAVAILABLE');
  await until('it logs in', () => logins === 1, { everyMs: 5 });
  await clock.advance(10_000);
  assert.match((await token).message, 'did not answer within 10000 ms');
});

test('after a failed login others fail at once, until the back-off is over', async () => {
  trouble = (response) => response.writeHead(503).end('out of order');
  const refused = () => rejectsWithCode(() => session.token(signal), 'ERR_KMS_STORE_UNAVAILABLE');
  const first = await refused();
  assert.match(first.message, 'answered 503: out of order');
  assert.is(await refused(), first);
  assert.is(logins, 1);
  trouble = undefined;
  // 500 ms and a quarter of it.
  await clock.advance(625);
  await session.token(signal);
  assert.is(logins, 2);
});

test('a refused credential carries a remedy', async () => {
  const error = JSON.stringify({ error: { code: 401, message: 'The request you have made requires authentication.' } });
  trouble = (response) => response.writeHead(401, { 'content-type': 'application/json' }).end(error);
  const { message, remedy } = await rejectsWithCode(() => session.token(signal), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.match(message, 'Keystone does not let user kms in');
  assert.match(remedy ?? '', 'user kms');
});

test('a closed session logs in no more', async () => {
  session.close();
  await rejectsWithCode(() => session.token(signal), 'ERR_KMS_CLOSED');
  assert.is(logins, 0);
});

test.run();
