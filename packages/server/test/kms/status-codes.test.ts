import { KmsError } from '@teapot-kms/core';
import type { KmsErrorCode } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toDecryptError, toRpcError } from '../../src/kms/status-codes.ts';
import { GrpcStatus } from '../../src/transport/seam.ts';

const cannotOpen: KmsErrorCode[] = [
  'ERR_KMS_LIMIT_EXCEEDED',
  'ERR_KMS_ENVELOPE_MALFORMED',
  'ERR_KMS_ENVELOPE_VERSION',
  'ERR_KMS_KEY_ID_MISMATCH',
  'ERR_KMS_AUTHENTICATION_FAILED',
  'ERR_KMS_UNWRAP_FAILED',
];

test('all that can be wrong with a ciphertext looks the same from outside', () => {
  const seen = cannotOpen.map((code) => toDecryptError(new KmsError(code, `detail of ${code}`)));
  assert.is(new Set(seen.map(({ status, message }) => `${status} ${message}`)).size, 1);
  assert.is(seen[0]!.status, GrpcStatus.INVALID_ARGUMENT);
  assert.not.match(seen[0]!.message, 'detail');
});

test('an unknown and a retired key look the same from outside', () => {
  const [unknown, retired] = (['ERR_KMS_UNKNOWN_KEY', 'ERR_KMS_KEY_RETIRED'] as const).map((code) =>
    toDecryptError(new KmsError(code, 'key abc')),
  );
  assert.is(unknown!.message, retired!.message);
  assert.is(unknown!.status, GrpcStatus.FAILED_PRECONDITION);
});

test('the true reason is kept as the cause, for the log', () => {
  const error = new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'the tag is wrong');
  assert.is(toDecryptError(error).cause, error);
});

test('an unexpected error is INTERNAL with a fixed text', () => {
  const { status, message } = toRpcError(new TypeError('secret detail'));
  assert.equal([status, message], [GrpcStatus.INTERNAL, 'internal error']);
});

const statuses: [KmsErrorCode, number][] = [
  ['ERR_KMS_STORE_UNAVAILABLE', GrpcStatus.UNAVAILABLE],
  ['ERR_KMS_KEY_GONE', GrpcStatus.FAILED_PRECONDITION],
  ['ERR_KMS_OVERLOADED', GrpcStatus.RESOURCE_EXHAUSTED],
  ['ERR_KMS_DEADLINE_EXCEEDED', GrpcStatus.DEADLINE_EXCEEDED],
  ['ERR_KMS_CANCELLED', GrpcStatus.CANCELLED],
  ['ERR_KMS_CLOSED', GrpcStatus.UNAVAILABLE],
  ['ERR_KMS_INVALID_REQUEST', GrpcStatus.INVALID_ARGUMENT],
];
for (const [code, status] of statuses) {
  test(`${code} becomes gRPC status ${status} with its own text`, () => {
    const error = toRpcError(new KmsError(code, 'why'));
    assert.equal([error.status, error.message], [status, 'why']);
  });
}

test.run();
