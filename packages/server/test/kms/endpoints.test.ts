import { KmsError } from '@teapot-kms/core';
import { FakeClock } from '@teapot-kms/testing';
import type { EncryptContext, KmsService, StatusResult } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toHandler } from '../../src/kms/endpoint.ts';
import type { CallRecord, Endpoint } from '../../src/kms/endpoint.ts';
import { v1beta1, v2 } from '../../src/kms/messages.ts';
import { v1beta1Endpoints } from '../../src/kms/v1beta1.ts';
import { v2Endpoints } from '../../src/kms/v2.ts';
import { bytesOf, GrpcStatus, RpcError } from '../../src/transport/seam.ts';

/** A service that "encrypts" by reversing: only what the adapters do is of interest here. */
class MirrorService implements KmsService {
  announcedKeyId: string | undefined;
  ciphertextBytes: number | undefined;
  answer: StatusResult = { healthz: 'ok', keyId: 'key-1' };

  encrypt(plaintext: Uint8Array, context: EncryptContext) {
    this.announcedKeyId = context.announcedKeyId;
    const ciphertext = Buffer.from(plaintext).reverse();
    return { ciphertext: this.ciphertextBytes ? Buffer.alloc(this.ciphertextBytes, 1) : ciphertext, keyId: 'key-1' };
  }
  decrypt({ ciphertext, keyId }: { ciphertext: Buffer; keyId?: string | undefined }) {
    if (keyId === 'gone') throw new KmsError('ERR_KMS_UNKNOWN_KEY', 'key gone is not here');
    return Promise.resolve(Buffer.from(ciphertext).reverse());
  }
  status() {
    return this.answer;
  }
  holds() {
    return true;
  }
  ready() {}
  describe(): never {
    throw new Error('not of interest');
  }
  report(): never {
    throw new Error('not of interest');
  }
  start() {}
  close() {
    return Promise.resolve();
  }
}

function setUp() {
  const service = new MirrorService();
  const records: CallRecord[] = [];
  const connection = {};
  const clock = new FakeClock();
  const endpoints: Endpoint[] = [...v2Endpoints(service, 'v2', clock), ...v1beta1Endpoints(service)];
  const call = async (path: string, request: Buffer, onConnection: object = connection): Promise<Buffer> => {
    const endpoint = endpoints.find((one) => one.path === path)!;
    const handler = toHandler(
      endpoint,
      { began: () => undefined, ended: (record) => void records.push(record) },
      clock,
    );
    return bytesOf(await handler(request, { connection: onConnection, signal: new AbortController().signal }));
  };
  return { service, records, call, connection, clock };
}

const V2 = '/v2.KeyManagementService';
const V1 = '/v1beta1.KeyManagementService';

async function failure(promise: Promise<Buffer>): Promise<RpcError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, RpcError);
    return error as RpcError;
  }
  throw new Error('the call succeeded');
}

test('a plaintext is wiped with the answer that contains it', async () => {
  const plaintext = Buffer.alloc(32, 7);
  class OnePlaintext extends MirrorService {
    override decrypt() {
      return Promise.resolve(plaintext);
    }
  }
  const service = new OnePlaintext();
  const context = { connection: {}, signal: new AbortController().signal };
  for (const endpoint of [...v2Endpoints(service, 'v2'), ...v1beta1Endpoints(service)]) {
    if (endpoint.method !== 'Decrypt') continue;
    plaintext.fill(7);
    const answer = await endpoint.handle(Buffer.alloc(0), context, { uid: undefined, keyId: undefined });
    const sent = Buffer.alloc(answer.length);
    answer.copy(sent, 0);
    answer.fill(0);
    assert.equal([sent.subarray(2), plaintext], [Buffer.alloc(32, 7), Buffer.alloc(32)]);
  }
});

test('v2 Status reports version, health and key id', async () => {
  const { call } = setUp();
  const answer = v2.StatusResponse.decode(await call(`${V2}/Status`, Buffer.alloc(0)));
  assert.equal(answer, { version: 'v2', healthz: 'ok', key_id: 'key-1' });
});

test('v2 Encrypt after a Status on the same connection is told the announced key', async () => {
  const { call, service } = setUp();
  await call(`${V2}/Status`, Buffer.alloc(0));
  await call(`${V2}/Encrypt`, v2.EncryptRequest.encode({ plaintext: Buffer.from('x') }));
  assert.is(service.announcedKeyId, 'key-1');
});

test('v2 Encrypt long after a Status is not: the announcement is 3 s old', async () => {
  const { call, service, clock } = setUp();
  await call(`${V2}/Status`, Buffer.alloc(0));
  await clock.advance(3_000);
  await call(`${V2}/Encrypt`, v2.EncryptRequest.encode({ plaintext: Buffer.from('x') }));
  assert.is(service.announcedKeyId, undefined);
});

test('v2 Encrypt on another connection is not', async () => {
  const { call, service } = setUp();
  await call(`${V2}/Status`, Buffer.alloc(0));
  await call(`${V2}/Encrypt`, v2.EncryptRequest.encode({ plaintext: Buffer.from('x') }), {});
  assert.is(service.announcedKeyId, undefined);
});

test('v2 Encrypt refuses what kube-apiserver would refuse: a ciphertext of more than 1,024 bytes', async () => {
  const { call, service } = setUp();
  service.ciphertextBytes = 1_025;
  const request = v2.EncryptRequest.encode({ plaintext: Buffer.from('x') });
  const error = await failure(call(`${V2}/Encrypt`, request));
  assert.is(error.status, GrpcStatus.INVALID_ARGUMENT);
  service.ciphertextBytes = 1_024;
  assert.is(v2.EncryptResponse.decode(await call(`${V2}/Encrypt`, request)).ciphertext.length, 1_024);
});

test('v2 Decrypt refuses annotations, which we never write', async () => {
  const { call, records } = setUp();
  const annotations = new Map([['a.example', Buffer.from('b')]]);
  const request = v2.DecryptRequest.encode({ ciphertext: Buffer.from('x'), key_id: 'key-1', annotations });
  assert.is((await failure(call(`${V2}/Decrypt`, request))).status, GrpcStatus.INVALID_ARGUMENT);
  assert.is((records[0]!.error!.cause as KmsError).code, 'ERR_KMS_ENVELOPE_MALFORMED');
});

test('a call that fails is recorded with its uid, status and cause', async () => {
  const { call, records } = setUp();
  const request = v2.DecryptRequest.encode({ ciphertext: Buffer.from('x'), key_id: 'gone', uid: 'uid-7' });
  await failure(call(`${V2}/Decrypt`, request));
  const [{ uid, status, endpoint, durationMs }] = records as [CallRecord];
  assert.equal([uid, status, endpoint.method, durationMs], ['uid-7', GrpcStatus.FAILED_PRECONDITION, 'Decrypt', 0]);
});

test('bytes that are no protobuf are INTERNAL', async () => {
  const { call } = setUp();
  assert.is((await failure(call(`${V2}/Encrypt`, Buffer.from('ffff', 'hex')))).status, GrpcStatus.INTERNAL);
});

test('v1 Version answers exactly v1beta1', async () => {
  const { call } = setUp();
  const answer = await call(`${V1}/Version`, v1beta1.VersionRequest.encode({ version: 'v1beta1' }));
  assert.is(v1beta1.VersionResponse.decode(answer).version, 'v1beta1');
});

test('v1 Encrypt and Decrypt take the four bytes of the health check', async () => {
  const { call } = setUp();
  const sealed = await call(
    `${V1}/Encrypt`,
    v1beta1.EncryptRequest.encode({ version: 'v1beta1', plain: Buffer.from('ping') }),
  );
  const { cipher } = v1beta1.EncryptResponse.decode(sealed);
  const opened = await call(`${V1}/Decrypt`, v1beta1.DecryptRequest.encode({ version: 'v1beta1', cipher }));
  assert.is(v1beta1.DecryptResponse.decode(opened).plain.toString(), 'ping');
});

test('v1 refuses another version than its own', async () => {
  const { call } = setUp();
  const request = v1beta1.EncryptRequest.encode({ version: 'v3', plain: Buffer.from('ping') });
  assert.is((await failure(call(`${V1}/Encrypt`, request))).status, GrpcStatus.INVALID_ARGUMENT);
});

test.run();
