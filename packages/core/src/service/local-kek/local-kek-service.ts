import { unlessAborted } from '../../util/abort.ts';
import { systemClock } from '../../util/clock.ts';
import type { Clock } from '../../util/clock.ts';
import { inlineEngine } from '../../crypto/engine.ts';
import type { CryptoEngine } from '../../crypto/engine.ts';
import { DecryptCounts } from '../decrypt-counts.ts';
import { cannotLook, checkKeyId } from '../../envelope/check-key-id.ts';
import { decodeEnvelope } from '../../envelope/codec.ts';
import type { Envelope } from '../../envelope/codec.ts';
import type { OpeningKey } from '../../envelope/envelope.ts';
import { KmsError } from '../../errors.ts';
import { NegativeCache } from '../negative-cache.ts';
import { Refresher } from '../refresher.ts';
import type {
  CallContext,
  DecryptRequest,
  EncryptContext,
  EncryptResult,
  EventListener,
  KmsService,
  MaybePromise,
  ServiceDescription,
  StatusResult,
} from '../../kms-service.ts';
import { Starting } from '../starting.ts';
import { StoreHealth } from '../store-health.ts';
import { timed } from '../../util/timed.ts';
import { KekCache } from './kek-cache.ts';
import { destroyLocalKek } from './local-kek.ts';
import type { RemoteKek, RemoteKekDescription } from './remote-kek.ts';
import { SealingKeks } from './sealing-keks.ts';
import { Unwrapper } from './unwrapper.ts';

export interface LocalKekServiceOptions {
  readonly remote: RemoteKek;
  readonly onEvent?: EventListener;
  readonly clock?: Clock;
  /** What seals and opens; whoever made it closes it. Default: at once, in this thread. */
  readonly crypto?: CryptoEngine;
  /** ms between two probes of the token. Default 30 s. */
  readonly probeIntervalMs?: number;
  /** ms after the last good probe in which Status stays ok. Default 2 min (design D3). */
  readonly statusGraceMs?: number;
  /** ms that one operation of the token may take. Default 10 s. */
  readonly operationTimeoutMs?: number;
  /** Age in ms at which a local KEK is replaced, and an unwrapped one unwrapped again, in the background. Default 1 h. */
  readonly softAgeMs?: number;
  /** Age in ms at which a local KEK is not used any more: how long a revoked KEK still works. Default 24 h. */
  readonly hardAgeMs?: number;
  /** Most unwrapped local KEKs held in memory. Default 10,000. */
  readonly cacheEntries?: number;
  /** Most operations that wait for the token at a time. Default 1,024. */
  readonly maxPending?: number;
  /** Every call goes to the token: a local KEK for each Encrypt, no cache. For those who want each use in its audit log. */
  readonly direct?: boolean;
}

const UNKNOWN_KEY_TTL_MS = 5_000;

/**
 * The service over a KEK that stays in a token: seals with local KEKs that the token has wrapped, and opens with
 * those it has unwrapped before, so that the token is asked once for each distinct wrapped key.
 */
export class LocalKekService implements KmsService {
  readonly #remote: RemoteKek;
  readonly #onEvent: EventListener;
  readonly #crypto: CryptoEngine;
  readonly #direct: boolean;
  readonly #maxPending: number;
  readonly #health: StoreHealth;
  readonly #refresher: Refresher;
  readonly #unknown: NegativeCache;
  readonly #starting: Starting;
  readonly #cache: KekCache;
  readonly #sealing: SealingKeks;
  readonly #unwrapper: Unwrapper;
  readonly #decrypts = new DecryptCounts();
  readonly #counters = { probes: 0, probe_failures: 0, key_switches: 0, unknown_keys: 0 };
  #description: RemoteKekDescription | undefined;
  #stopWatch: (() => void) | undefined;
  #directWraps = 0;
  #closed = false;

  constructor(options: LocalKekServiceOptions) {
    const clock = options.clock ?? systemClock;
    const { remote, softAgeMs = 3_600_000, hardAgeMs = 24 * 3_600_000, operationTimeoutMs = 10_000 } = options;
    this.#remote = remote;
    this.#onEvent = options.onEvent ?? (() => undefined);
    this.#crypto = options.crypto ?? inlineEngine;
    this.#direct = options.direct ?? false;
    this.#maxPending = options.maxPending ?? 1_024;
    this.#health = new StoreHealth(clock, options.statusGraceMs ?? 2 * 60_000);
    this.#unknown = new NegativeCache(clock, UNKNOWN_KEY_TTL_MS);
    this.#starting = new Starting(clock);
    this.#cache = new KekCache({ clock, maxEntries: options.cacheEntries ?? 10_000, softAgeMs, hardAgeMs });
    this.#sealing = new SealingKeks({
      remote,
      clock,
      softAgeMs,
      hardAgeMs,
      cache: this.#cache,
      onEvent: this.#onEvent,
    });
    this.#unwrapper = new Unwrapper({
      remote,
      clock,
      cache: this.#cache,
      direct: this.#direct,
      onEvent: this.#onEvent,
      timeoutMs: operationTimeoutMs,
      maxPending: this.#maxPending,
    });
    this.#refresher = new Refresher({
      clock,
      intervalMs: options.probeIntervalMs ?? 30_000,
      timeoutMs: operationTimeoutMs,
      run: (signal) => this.#probe(signal),
    });
  }

  start(): void {
    this.#stopWatch = this.#remote.watch?.(() => this.#refresher.trigger());
    this.#starting.until(this.#refresher.refresh());
  }

  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.encrypt(plaintext, context));
    if (this.#closed) throw this.#notReady();
    if (this.#direct) return this.#encryptDirect(plaintext, context);
    const kek = this.#sealing.usable(context.announcedKeyId);
    if (kek) return this.#crypto.seal(kek, plaintext, context);
    return this.#refreshAndSeal(plaintext, context);
  }

  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.decrypt(request, context));
    if (this.#closed) throw this.#notReady();
    const envelope = decodeEnvelope(request.ciphertext);
    checkKeyId(envelope, request.keyId);
    if (envelope.wrapped.length === 0) {
      throw new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'the envelope carries no wrapped local KEK');
    }
    const name = this.#unwrapper.nameOf(envelope);
    const kek = this.#description && this.#unwrapper.cached(name, envelope, this.#description.contextId);
    return kek ? this.#open(kek, envelope, context) : this.#unwrapAndOpen(name, envelope, context);
  }

  status(): MaybePromise<StatusResult> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.status());
    if (this.#closed) throw this.#notReady();
    const keyId = this.#direct ? this.#description?.primary : this.#sealing.keyId;
    const healthz = this.#health.healthz();
    if (keyId === undefined) throw this.#notReady();
    return { healthz, keyId };
  }

  describe(): ServiceDescription {
    const error = this.#health.lastError;
    return {
      uri: this.#remote.uri,
      primary: this.#description?.primary,
      keys: (this.#description?.keys ?? []).map((key) => ({ ...key, decrypts: this.#decrypts.of(key.id) })),
      lastGoodProbeAgeMs: this.#health.lastGoodAgeMs,
      warnings: error ? [`${error.code}: ${error.message}`] : [],
      cacheEntries: this.#cache.size,
      counters: {
        ...this.#counters,
        ...this.#unwrapper.counters,
        wraps: this.#sealing.wraps,
        cache_evictions: this.#cache.evictions,
        ...this.#remote.counters?.(),
      },
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopWatch?.();
    this.#refresher.stop();
    this.#sealing.destroy();
    this.#unwrapper.close();
    this.#cache.clear();
    await this.#remote.close();
  }

  #open(kek: OpeningKey, envelope: Envelope, context: CallContext): MaybePromise<Buffer> {
    return this.#decrypts.addWith(envelope.keyId, this.#crypto.open(kek, envelope, context));
  }

  #unwrapAndOpen(name: string, envelope: Envelope, context: CallContext): Promise<Buffer> {
    const { signal } = context;
    const unwrap = ({ contextId }: RemoteKekDescription) =>
      unlessAborted(this.#unwrapper.unwrap(name, envelope, contextId), signal);
    // Nothing is awaited that is known: in a storm the first unwraps are under way before the last are asked for.
    const description = this.#knownWith(envelope.keyId);
    const kek = description ? unwrap(description) : this.#describedWith(envelope.keyId, signal).then(unwrap);
    return kek.then((kek) => {
      if (this.#closed) throw this.#notReady();
      return this.#open(kek, envelope, context);
    });
  }

  async #encryptDirect(plaintext: Uint8Array, context: EncryptContext): Promise<EncryptResult> {
    const { announcedKeyId, signal } = context;
    const description = this.#description;
    if (!description) throw this.#notReady();
    const announced = description.keys.find((key) => key.id === announcedKeyId && key.state === 'promoted');
    const keyId = announced?.id ?? description.primary;
    if (this.#directWraps >= this.#maxPending) {
      this.#unwrapper.counters.rejected++;
      throw new KmsError('ERR_KMS_OVERLOADED', `${this.#maxPending} operations wait for the key store already`);
    }
    this.#directWraps++;
    const making = this.#sealing.make(keyId, description.contextId, signal).finally(() => this.#directWraps--);
    const kek = await unlessAborted(making, signal, destroyLocalKek);
    try {
      return await this.#crypto.seal(kek.sealing, plaintext, context);
    } finally {
      destroyLocalKek(kek);
    }
  }

  async #refreshAndSeal(plaintext: Uint8Array, context: EncryptContext): Promise<EncryptResult> {
    await unlessAborted(this.#refresher.refresh(), context.signal);
    const kek = this.#sealing.usable(context.announcedKeyId);
    if (!kek) throw this.#notReady();
    return this.#crypto.seal(kek, plaintext, context);
  }

  #knownWith(keyId: string): RemoteKekDescription | undefined {
    return this.#description?.keys.some((key) => key.id === keyId) ? this.#description : undefined;
  }

  /** What the token describes; looked up anew, once, when it does not list `keyId` yet (design D4). */
  async #describedWith(keyId: string, signal: AbortSignal): Promise<RemoteKekDescription> {
    const looked = this.#unknown.has(keyId) || (await unlessAborted(this.#refresher.refresh(), signal));
    if (!this.#description) throw this.#notReady();
    const description = this.#knownWith(keyId);
    if (description) return description;
    if (!looked) throw cannotLook(keyId, this.#health.lastError);
    if (this.#unknown.add(keyId)) {
      this.#counters.unknown_keys++;
      this.#onEvent({ type: 'unknown-key', keyId });
    }
    throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in this token`);
  }

  async #probe(signal: AbortSignal): Promise<boolean> {
    this.#counters.probes++;
    this.#cache.sweep();
    try {
      const describe = () => unlessAborted(this.#remote.describe({ signal }), signal);
      const description = await timed('describe', describe, this.#onEvent);
      this.#description = description;
      if (!this.#direct) await this.#renewSealingKek(description, signal);
      this.#answered(description.damaged);
      return true;
    } catch (error) {
      if (this.#closed) return false;
      this.#counters.probe_failures++;
      const failure = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', 'the token failed');
      if (this.#health.lastError?.message !== failure.message) this.#onEvent({ type: 'store-failed', error: failure });
      this.#health.failed(failure);
      return false;
    }
  }

  #answered(damaged: KmsError | undefined): void {
    const before = this.#health.lastError?.message;
    if (damaged) {
      this.#health.damaged(damaged);
      if (before !== damaged.message) this.#onEvent({ type: 'store-failed', error: damaged });
    } else if (this.#health.good()) this.#onEvent({ type: 'store-ok' });
  }

  /** The announced key changes only when a local KEK under the new one is ready to seal (design D1). */
  async #renewSealingKek(description: RemoteKekDescription, signal: AbortSignal): Promise<void> {
    const from = this.#sealing.keyId;
    await unlessAborted(this.#sealing.renew(description, signal), signal);
    const to = this.#sealing.keyId;
    if (to === undefined || from === to) return;
    if (from !== undefined) this.#counters.key_switches++;
    this.#onEvent({ type: 'key-switched', from, to });
  }

  #notReady(): KmsError {
    if (this.#closed) return new KmsError('ERR_KMS_CLOSED', 'the instance is shutting down');
    this.#health.healthz();
    const cause = this.#health.lastError;
    return new KmsError('ERR_KMS_STORE_UNAVAILABLE', cause?.message ?? 'the token has not answered yet', { cause });
  }
}
