import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../src/errors.ts';

test('a KmsError is kept as it is, whatever code is offered', () => {
  const error = new KmsError('ERR_KMS_CLOSED', 'x');
  assert.is(KmsError.from(error, 'ERR_KMS_KEY_GONE', 'y'), error);
});

test('anything else becomes the cause of one', () => {
  for (const cause of [new TypeError('inner'), 'a string', undefined]) {
    const error = KmsError.from(cause, 'ERR_KMS_STORE_UNAVAILABLE', 'outer');
    assert.is(error.code, 'ERR_KMS_STORE_UNAVAILABLE');
    assert.is(error.message, 'outer');
    assert.is(error.cause, cause);
    assert.is(error.name, 'KmsError');
  }
});

test.run();
