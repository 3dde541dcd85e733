import { CONTEXT_ID_BYTES, KEY_BYTES } from '@teapot-kms/core/internal';
import { EnvelopeKey, KmsError, newKeyId, SecretBytes } from '@teapot-kms/core';
import type { KmsErrorCode, KmsService } from '@teapot-kms/core';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { until } from '../assert/until.ts';
import { rejectsWithCode } from '../assert/rejects-with-code.ts';
import { FakeClock } from '../fakes/fake-clock.ts';

/*
 * Rules of every service that involve its store (ADR 0015). Both suites run them with the real store behind the service and a fake clock.
 */

/** Time in ms between two probes: longer than the rules move the clock, so that none comes by itself. */
export const PROBE_INTERVAL_MS = 3_600_000;
/** Longest wait for a hint of the store, in ms. */
const HINT_WITHIN_MS = 60_000;
const CALLS = 10;

/** What stands between a service and its store: counts probes and watches, and takes the store away. */
export class StoreTap {
  readonly clock = new FakeClock();
  probes = 0;
  watches = 0;
  /** Probes fail, and watches that have begun hint at nothing any more. */
  #down = false;
  #deadWatches = 0;

  async probe<T>(read: () => Promise<T>): Promise<T> {
    this.probes++;
    await Promise.resolve();
    if (this.#down) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'the test took the store away');
    return read();
  }

  watch(onChange: () => void, watchStore: (onChange: () => void) => () => void): () => void {
    const number = ++this.watches;
    return watchStore(() => {
      if (number > this.#deadWatches) onChange();
    });
  }

  takeAway(): void {
    this.#down = true;
    this.#deadWatches = this.watches;
  }

  bringBack(): void {
    this.#down = false;
  }
}

/**
 * Requests for unknown keys make the service read its store at most once per second, whatever ids they invent.
 * @param unknownCiphertext - makes an envelope under a key id that the store does not have, each time another one
 */
export async function readsOncePerSecond(
  service: KmsService,
  tap: StoreTap,
  unknownCiphertext: () => Buffer,
): Promise<void> {
  const ask = () => decryptFails(service, unknownCiphertext(), 'ERR_KMS_UNKNOWN_KEY');
  const askAll = () => Promise.all(Array.from({ length: CALLS }, ask));
  await started(service);
  const before = tap.probes;
  await askAll();
  assert.equal(tap.probes - before, 1, 'concurrent callers share one read');
  const later = askAll();
  await tap.clock.advance(999);
  assert.equal(tap.probes - before, 1, 'no second read within a second');
  await tap.clock.advance(1);
  await later;
  assert.equal(tap.probes - before, 2);
}

/**
 * After its store was away, the service watches it anew: the old watch may have ended with what it watched.
 * @param unknownCiphertext - as for {@link readsOncePerSecond}: makes the service read the store
 * @param change - changes the keys behind the service's back and returns an id that it must know then; without it the store gives no hints
 */
export async function watchesAnew(
  service: KmsService,
  tap: StoreTap,
  unknownCiphertext: () => Buffer,
  change: (() => Promise<string>) | undefined,
): Promise<void> {
  await started(service);
  tap.takeAway();
  await decryptFails(service, unknownCiphertext(), 'ERR_KMS_STORE_UNAVAILABLE');
  tap.bringBack();
  const recovered = decryptFails(service, unknownCiphertext(), 'ERR_KMS_UNKNOWN_KEY');
  await tap.clock.advance(1_000);
  await recovered;
  assert.equal(tap.watches, 2);
  if (!change) return;
  const keyId = await change();
  const known = () => service.describe().keys.some(({ id }) => id === keyId);
  await until('a hint of the new watch made the service read', known, { everyMs: 5, timeoutMs: HINT_WITHIN_MS });
}

/** An envelope under a new key id, with the wrapped local KEK that is given. */
export function strangeCiphertext(wrapped?: Buffer): Buffer {
  const bytes = new SecretBytes(randomBytes(KEY_BYTES));
  const contextId = randomBytes(CONTEXT_ID_BYTES);
  const key = new EnvelopeKey({ key: bytes, keyId: newKeyId(), contextId, ...(wrapped && { wrapped }) });
  const ciphertext = key.seal(Buffer.from('x'));
  key.destroy();
  return ciphertext;
}

async function decryptFails(service: KmsService, ciphertext: Buffer, code: KmsErrorCode): Promise<void> {
  const context = { signal: new AbortController().signal };
  await rejectsWithCode(async () => service.decrypt({ ciphertext }, context), code);
}

async function started(service: KmsService): Promise<void> {
  service.start();
  assert.equal((await service.status()).healthz, 'ok');
}
