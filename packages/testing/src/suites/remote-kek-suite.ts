import { CONTEXT_ID_BYTES, KEY_BYTES, MAX_WRAPPED_BYTES } from '@teapot-kms/core/internal';
import { isKeyId, KmsError, LocalKekService, SecretBytes } from '@teapot-kms/core';
import type { RemoteKek } from '@teapot-kms/core';
import { skipped } from '../assert/skipped.ts';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rejectsWithCode } from '../assert/rejects-with-code.ts';
import { assertNoSecret } from '../assert/secret-search.ts';
import { PROBE_INTERVAL_MS, readsOncePerSecond, StoreTap, strangeCiphertext, watchesAnew } from './service-rules.ts';
import type { TestFunction } from './test-function.ts';

/** One key in one token. */
export interface RemoteKekFixture {
  readonly remote: RemoteKek;
  /** Another handle to the same key, as another replica has it. */
  readonly reopen: () => Promise<RemoteKek>;
  /** Adds a version of the key that opens, and does not wrap yet; returns its id. */
  readonly addVersion?: () => Promise<string>;
  readonly close?: () => Promise<void>;
}

const context = () => ({ signal: AbortSignal.timeout(30_000) });

/**
 * What is expected of every {@link RemoteKek}. Registers its tests with `test`; each makes a fixture of its own.
 */
export function remoteKekSuite(test: TestFunction, name: string, makeFixture: () => Promise<RemoteKekFixture>): void {
  const behaviour = (what: string, run: (fixture: RemoteKekFixture, primary: string) => Promise<void>) =>
    test(`${name}: ${what}`, async () => {
      const fixture = await makeFixture();
      try {
        await run(fixture, (await fixture.remote.describe(context())).primary);
      } finally {
        await fixture.remote.close();
        await fixture.close?.();
      }
    });

  registerRoundTrips(behaviour);
  registerRefusals(behaviour);
  registerServiceRules(behaviour);
}

type Behaviour = (what: string, run: (fixture: RemoteKekFixture, primary: string) => Promise<void>) => void;

function registerRoundTrips(behaviour: Behaviour): void {
  behaviour('the description names a primary among its keys', async ({ remote }) => {
    const { contextId, primary, keys } = await remote.describe(context());
    assert.equal(contextId.length, CONTEXT_ID_BYTES);
    assert.equal(keys.find((key) => key.id === primary)?.state, 'promoted');
    for (const { id } of keys) assert.ok(isKeyId(id), id);
    assert.equal(new Set(keys.map((key) => key.id)).size, keys.length);
  });

  behaviour('two handles describe the same', async ({ remote, reopen }) => {
    const other = await reopen();
    assert.deepEqual(await other.describe(context()), await remote.describe(context()));
    await other.close();
  });

  behaviour('unwrap undoes wrap and the key passed in stays as it is', async ({ remote }, primary) => {
    const bytes = randomBytes(KEY_BYTES);
    const key = new SecretBytes(Buffer.from(bytes));
    const wrapped = await remote.wrap(primary, key, context());
    assert.deepEqual(key.expose(), bytes);
    assert.ok(wrapped.length >= 1 && wrapped.length <= MAX_WRAPPED_BYTES, `${wrapped.length} bytes`);
    assert.equal(wrapped.indexOf(bytes), -1);
    await assertUnwraps(remote, primary, wrapped, bytes);
  });

  behaviour('what one handle wraps another unwraps', async ({ remote, reopen }, primary) => {
    const { wrapped, bytes } = await wrapNew(remote, primary);
    const other = await reopen();
    await assertUnwraps(other, primary, wrapped, bytes);
    await other.close();
  });

  behaviour('another version wraps for itself only', async ({ remote, addVersion }, primary) => {
    if (!addVersion) {
      skipped('addVersion');
      return;
    }
    const second = await addVersion();
    assert.ok((await remote.describe(context())).keys.some((key) => key.id === second));
    const { wrapped, bytes } = await wrapNew(remote, second);
    await assertUnwraps(remote, second, wrapped, bytes);
    await rejectsWithCode(() => remote.unwrap(primary, wrapped, context()), 'ERR_KMS_UNWRAP_FAILED');
  });

  behaviour('a hundred operations at once do not get in each other’s way', async ({ remote }, primary) => {
    const wraps = await Promise.all(Array.from({ length: 50 }, () => wrapNew(remote, primary)));
    await Promise.all(wraps.map(({ wrapped, bytes }) => assertUnwraps(remote, primary, wrapped, bytes)));
    assert.equal(new Set(wraps.map(({ wrapped }) => wrapped.toString('hex'))).size, wraps.length);
  });
}

function registerRefusals(behaviour: Behaviour): void {
  behaviour('an unknown id is refused', async ({ remote }, primary) => {
    const { wrapped } = await wrapNew(remote, primary);
    const key = new SecretBytes(randomBytes(KEY_BYTES));
    await rejectsWithCode(() => remote.wrap('no-such-key', key, context()), 'ERR_KMS_UNKNOWN_KEY');
    await rejectsWithCode(() => remote.unwrap('no-such-key', wrapped, context()), 'ERR_KMS_UNKNOWN_KEY');
  });

  behaviour('a wrapped key with a changed byte is refused', async ({ remote }, primary) => {
    const { wrapped, bytes } = await wrapNew(remote, primary);
    for (const at of new Set([0, 1, wrapped.length >> 1, wrapped.length - 2, wrapped.length - 1])) {
      const changed = Buffer.from(wrapped);
      changed[at]! ^= 1;
      const error = await rejectsWithCode(() => remote.unwrap(primary, changed, context()), 'ERR_KMS_UNWRAP_FAILED');
      assertNoSecret(error, bytes, 'the error');
    }
    await assertUnwraps(remote, primary, wrapped, bytes);
  });

  behaviour('a wrapped key that is cut off or too long is refused', async ({ remote }, primary) => {
    const { wrapped } = await wrapNew(remote, primary);
    const others = [wrapped.subarray(0, 1), wrapped.subarray(0, -1), Buffer.concat([wrapped, Buffer.alloc(1)])];
    for (const other of [...others, Buffer.alloc(MAX_WRAPPED_BYTES, 0xff)]) {
      await rejectsWithCode(() => remote.unwrap(primary, other, context()), 'ERR_KMS_UNWRAP_FAILED');
    }
  });

  behaviour(
    'an operation that nobody waits for is refused or done, never left hanging',
    async ({ remote }, primary) => {
      const { wrapped } = await wrapNew(remote, primary);
      const aborted = { signal: AbortSignal.abort() };
      const outcomes = await Promise.allSettled([remote.unwrap(primary, wrapped, aborted), remote.describe(aborted)]);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof KmsError);
      }
      await wrapNew(remote, primary);
    },
  );

  behaviour('after close every operation is refused, and close may come twice', async ({ remote }, primary) => {
    await remote.close();
    await remote.close();
    const key = new SecretBytes(randomBytes(KEY_BYTES));
    for (const operation of [() => remote.describe(context()), () => remote.wrap(primary, key, context())]) {
      await assert.rejects(operation, KmsError);
    }
  });
}

function registerServiceRules(behaviour: Behaviour): void {
  behaviour('requests for unknown keys read the token at most once per second', async ({ remote }) => {
    const tap = new StoreTap();
    const unwatched = { ...tapped(remote, tap), watch: () => () => undefined };
    const service = new LocalKekService({ remote: unwatched, clock: tap.clock, probeIntervalMs: PROBE_INTERVAL_MS });
    await readsOncePerSecond(service, tap, strangeWithWrapped);
    await service.close();
  });

  behaviour('after an outage the service watches the store anew', async (fixture) => {
    const { remote, addVersion } = fixture;
    if (!remote.watch) return;
    const tap = new StoreTap();
    const options = { remote: tapped(remote, tap), clock: tap.clock, probeIntervalMs: PROBE_INTERVAL_MS };
    const service = new LocalKekService(options);
    if (!addVersion) skipped('addVersion');
    await watchesAnew(service, tap, strangeWithWrapped, addVersion);
    await service.close();
  });
}

const strangeWithWrapped = (): Buffer => strangeCiphertext(randomBytes(KEY_BYTES));

/** The fixture closes the remote KEK itself. */
function tapped(remote: RemoteKek, tap: StoreTap): RemoteKek {
  return {
    uri: remote.uri,
    describe: (context) => tap.probe(() => remote.describe(context)),
    wrap: (keyId, key, context) => remote.wrap(keyId, key, context),
    unwrap: (keyId, wrapped, context) => remote.unwrap(keyId, wrapped, context),
    watch: (onChange) => tap.watch(onChange, (hint) => remote.watch!(hint)),
    close: () => Promise.resolve(),
  };
}

async function wrapNew(remote: RemoteKek, keyId: string): Promise<{ wrapped: Buffer; bytes: Buffer }> {
  const bytes = randomBytes(KEY_BYTES);
  return { wrapped: await remote.wrap(keyId, new SecretBytes(Buffer.from(bytes)), context()), bytes };
}

async function assertUnwraps(remote: RemoteKek, keyId: string, wrapped: Buffer, bytes: Buffer): Promise<void> {
  const unwrapped = await remote.unwrap(keyId, wrapped, context());
  assert.deepEqual(unwrapped.expose(), bytes);
  unwrapped.wipe();
}
