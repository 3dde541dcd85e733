import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TokenFailure } from '../../../src/stores/pkcs11/token-host/protocol.ts';
import type { FailureKind, Sealed } from '../../../src/stores/pkcs11/token-host/protocol.ts';
import { unavailable } from '../../../src/errors.ts';
import { unwrapOrRefuse } from '../../../src/stores/pkcs11/unwrap-or-refuse.ts';

const opened = {} as Sealed;

/** A token of which one operation after the other ends so. Returns how it ended, and what was asked. */
function tokenThat(unwraps: readonly (FailureKind | 'opens')[], tests: readonly (FailureKind | 'passes')[] = []) {
  const asked: string[] = [];
  const next = (what: string, ends: readonly string[]) => {
    const end = ends[asked.filter((one) => one === what).length]!;
    asked.push(what);
    if (end === 'opens' || end === 'passes') return Promise.resolve(opened);
    return Promise.reject(unavailable(end, { cause: new TokenFailure(end as FailureKind, end) }));
  };
  const result = unwrapOrRefuse(
    () => next('unwrap', unwraps),
    () => next('test', tests),
  );
  return { result, asked };
}

test('bytes are wrong where the key passes its test between three failures', async () => {
  const { result, asked } = tokenThat(['ambiguous', 'ambiguous', 'ambiguous'], ['passes', 'passes']);
  await rejectsWithCode(() => result, 'ERR_KMS_UNWRAP_FAILED');
  assert.equal(asked, ['unwrap', 'test', 'unwrap', 'test', 'unwrap']);
});

test('a token that fails twice at random blames no bytes', async () => {
  const { result } = tokenThat(['ambiguous', 'ambiguous', 'opens'], ['passes', 'passes']);
  assert.is(await result, opened);
});

test('bytes are wrong at once where the key cannot do their mechanism', async () => {
  const { result, asked } = tokenThat(['ambiguous'], ['unusable']);
  await rejectsWithCode(() => result, 'ERR_KMS_UNWRAP_FAILED');
  assert.equal(asked, ['unwrap', 'test']);
});

test('a token that is in trouble during the test is unavailable', async () => {
  const { result } = tokenThat(['ambiguous'], ['ambiguous']);
  await rejectsWithCode(() => result, 'ERR_KMS_STORE_UNAVAILABLE');
});

test('a failure that is not ambiguous is not tried again', async () => {
  const { result, asked } = tokenThat(['unavailable']);
  await rejectsWithCode(() => result, 'ERR_KMS_STORE_UNAVAILABLE');
  assert.equal(asked, ['unwrap']);
});

test.run();
