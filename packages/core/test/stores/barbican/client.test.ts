import { FakeClock, rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { BarbicanClient } from '../../../src/stores/barbican/client.ts';
import type { KeystoneSession, ServiceAnswer, ServiceRequest } from '../../../src/stores/barbican/keystone/session.ts';

const ID = '72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11';
const { signal } = new AbortController();

/** A session that gives these answers, one after the other. */
function clientOf(...answers: (Pick<ServiceAnswer, 'status'> & Partial<ServiceAnswer>)[]) {
  const requests: ServiceRequest[] = [];
  const session = {
    keyManager(request: ServiceRequest) {
      requests.push(request);
      return Promise.resolve({
        headers: {},
        body: Buffer.alloc(32),
        justIssued: true,
        place: 'http://a',
        ...answers.shift()!,
      });
    },
  } as unknown as KeystoneSession;
  return { client: new BarbicanClient(session, new FakeClock()), requests };
}

const refusal = (status: 403 | 404, more: Partial<ServiceAnswer> = {}) => ({
  status,
  body: Buffer.from(JSON.stringify({ code: status, title: 'x', description: 'Secret not found.' })),
  ...more,
});

for (const status of [403, 404] as const) {
  test(`a ${String(status)} of the place that delivered the secret before is a loss`, async () => {
    const { client } = clientOf({ status: 200 }, refusal(status));
    await client.payload(ID, signal);
    const { remedy } = await rejectsWithCode(() => client.payload(ID, signal), 'ERR_KMS_KEY_GONE');
    assert.ok(remedy);
  });

  test(`a ${String(status)} of another place than before is not: the error names both`, async () => {
    const { client } = clientOf({ status: 200 }, refusal(status, { place: 'http://b, region B' }));
    await client.payload(ID, signal);
    const { message, remedy } = await rejectsWithCode(() => client.payload(ID, signal), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(message, 'http://b, region B');
    assert.match(message, 'http://a');
    assert.match(remedy ?? '', 'region');
  });
}

test('once another place has delivered the secret, that place can say that it is gone', async () => {
  const place = 'http://b';
  const { client } = clientOf({ status: 200 }, { status: 200, place }, refusal(404, { place }));
  await client.payload(ID, signal);
  await client.payload(ID, signal);
  await rejectsWithCode(() => client.payload(ID, signal), 'ERR_KMS_KEY_GONE');
});

test('a secret that was never delivered is gone where it is looked for', async () => {
  const { client } = clientOf(refusal(404));
  await rejectsWithCode(() => client.payload(ID, signal), 'ERR_KMS_KEY_GONE');
});

test('a refusal under an older token is asked for again with a token just issued', async () => {
  const { client, requests } = clientOf(refusal(404, { justIssued: false }), { status: 200 });
  assert.is((await client.payload(ID, signal)).length, 32);
  assert.equal(
    requests.map(({ justIssued }) => justIssued),
    [undefined, true],
  );
});

test("a proxy's 404 is no loss", async () => {
  const { client } = clientOf({ status: 404, body: Buffer.from('<html><title>404 Not Found</title></html>') });
  await rejectsWithCode(() => client.payload(ID, signal), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('errors name the key that the secret is, and pass on no control characters', async () => {
  const body = Buffer.from(JSON.stringify({ code: 404, description: 'gone\u0007\n\u202eevil\ud800' }));
  const { client } = clientOf(refusal(404, { body }));
  const { message } = await rejectsWithCode(() => client.payload(ID, signal, 'key k1'), 'ERR_KMS_KEY_GONE');
  assert.match(message, `key k1, secret ${ID} `);
  assert.match(message, /gone evil\ufffd$/);
});

for (const href of [`http://b/v1/containers/${ID}`, `http://b/v1/secrets/${ID}/payload`, 'http://b/v1/secrets/x', ID]) {
  test(`${href} is no secret: nothing is stored there`, async () => {
    const { client, requests } = clientOf({ status: 201, body: Buffer.from(JSON.stringify({ secret_ref: href })) });
    const { message } = await rejectsWithCode(
      () => client.create('x', Buffer.alloc(32), signal),
      'ERR_KMS_STORE_UNAVAILABLE',
    );
    assert.match(message, 'names no secret');
    assert.is(requests.length, 1);
  });
}

test('a secret that could not be stored is deleted, also when the time for it is over', async () => {
  const timeout = new AbortController();
  const requests: ServiceRequest[] = [];
  const session = {
    keyManager(request: ServiceRequest) {
      requests.push(request);
      request.signal.throwIfAborted();
      if (request.method === 'POST') {
        return { status: 201, body: Buffer.from(JSON.stringify({ secret_ref: `http://b/v1/secrets/${ID}` })) };
      }
      if (request.method === 'DELETE') return { status: 204 };
      timeout.abort(new KmsError('ERR_KMS_DEADLINE_EXCEEDED', 'the deadline passed'));
      request.signal.throwIfAborted();
    },
  } as unknown as KeystoneSession;
  const client = new BarbicanClient(session, new FakeClock());
  const create = () => client.create('x', Buffer.alloc(32), timeout.signal);
  await rejectsWithCode(create, 'ERR_KMS_DEADLINE_EXCEEDED');
  const { method, path, signal } = requests.at(-1)!;
  assert.equal([method, path, signal.aborted], ['DELETE', `/secrets/${ID}`, false]);
});

test.run();
