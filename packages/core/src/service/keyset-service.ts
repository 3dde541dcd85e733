import { unlessAborted } from '../util/abort.ts';
import { systemClock } from '../util/clock.ts';
import type { Clock } from '../util/clock.ts';
import { inlineEngine } from '../crypto/engine.ts';
import type { CryptoEngine } from '../crypto/engine.ts';
import { DecryptCounts } from './decrypt-counts.ts';
import { decodeEnvelope } from '../envelope/codec.ts';
import { cannotLook, checkKeyId } from '../envelope/check-key-id.ts';
import type { Envelope } from '../envelope/codec.ts';
import { KmsError } from '../errors.ts';
import { NegativeCache } from './negative-cache.ts';
import { Refresher } from './refresher.ts';
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
} from '../kms-service.ts';
import { Starting } from './starting.ts';
import { StoreHealth } from './store-health.ts';
import { timed } from '../util/timed.ts';
import type { Keyset } from '../keyset/keyset.ts';
import type { KeysetHolder, KeysetSource } from '../keyset/keyset-source.ts';

export interface KeysetServiceOptions {
  readonly source: KeysetSource;
  readonly onEvent?: EventListener;
  readonly clock?: Clock;
  /** What seals and opens; whoever made it closes it. Default: at once, in this thread. */
  readonly crypto?: CryptoEngine;
  /** ms between two looks at the store. Default 30 s. */
  readonly probeIntervalMs?: number;
  /** ms after the last good look in which Status stays ok. Default 2 min (design D3). */
  readonly statusGraceMs?: number;
  /** ms that keys stay in use after the store said for certain that they are gone. Default 10 min. */
  readonly goneGraceMs?: number;
  /** ms that one load may take. Default 10 s. */
  readonly loadTimeoutMs?: number;
}

/** Waiting for an unknown key's refresh is bounded by the caller's deadline; asking again for the same id is not free. */
const UNKNOWN_KEY_TTL_MS = 5_000;
/** Least ms between two looks at the store for unknown keys, whatever ids are asked for: all instances share the store. */
const UNKNOWN_KEY_INTERVAL_MS = 1_000;

/** The service over keys in our memory, whichever store delivers them. Sealing and opening never wait for the store. */
export class KeysetService implements KmsService, KeysetHolder {
  readonly #source: KeysetSource;
  readonly #onEvent: EventListener;
  readonly #goneGraceMs: number;
  readonly #health: StoreHealth;
  readonly #refresher: Refresher;
  readonly #unknown: NegativeCache;
  readonly #decrypts = new DecryptCounts();
  readonly #counters = { loads: 0, load_failures: 0, key_switches: 0, unknown_keys: 0 };
  readonly #starting: Starting;
  readonly #clock: Clock;
  readonly #crypto: CryptoEngine;
  #looking: Promise<boolean> | undefined;
  #lookedAt = -Infinity;
  #confirmedAt = 0;
  #keyset: Keyset | undefined;
  #stopWatch: (() => void) | undefined;
  #closed = false;

  constructor(options: KeysetServiceOptions) {
    const clock = options.clock ?? systemClock;
    this.#clock = clock;
    this.#crypto = options.crypto ?? inlineEngine;
    this.#source = options.source;
    this.#onEvent = options.onEvent ?? (() => undefined);
    this.#goneGraceMs = options.goneGraceMs ?? 10 * 60_000;
    this.#health = new StoreHealth(clock, options.statusGraceMs ?? 2 * 60_000);
    this.#unknown = new NegativeCache(clock, UNKNOWN_KEY_TTL_MS);
    this.#starting = new Starting(clock);
    this.#refresher = new Refresher({
      clock,
      intervalMs: options.probeIntervalMs ?? 30_000,
      timeoutMs: options.loadTimeoutMs ?? options.source.loadTimeoutMs ?? 10_000,
      run: (signal) => this.#load(signal),
    });
  }

  start(): void {
    this.#watch();
    this.#starting.until(this.#refresher.refresh());
  }

  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.encrypt(plaintext, context));
    return this.#crypto.seal(this.#usableKeyset().sealingKey(context.announcedKeyId), plaintext, context);
  }

  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.decrypt(request, context));
    const keyset = this.#usableKeyset();
    const envelope = decodeEnvelope(request.ciphertext);
    checkKeyId(envelope, request.keyId);
    // An instance has no local KEKs of its own here, so an envelope that carries one is another kind of instance's.
    if (envelope.wrapped.length > 0) {
      throw new KmsError(
        'ERR_KMS_AUTHENTICATION_FAILED',
        'the envelope carries a wrapped local KEK, this keyset has none',
      );
    }
    try {
      return this.#open(keyset, envelope, context);
    } catch (error) {
      if (error instanceof KmsError && error.code === 'ERR_KMS_UNKNOWN_KEY')
        return this.#refreshAndOpen(envelope, context);
      throw error;
    }
  }

  status(): MaybePromise<StatusResult> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.status());
    const keyset = this.#unexpired();
    if (!keyset) {
      this.#health.healthz();
      throw this.#notReady();
    }
    return { healthz: this.#health.healthz(), keyId: keyset.manifest.primary };
  }

  describe(): ServiceDescription {
    const manifest = this.#keyset?.manifest;
    const error = this.#health.lastError;
    return {
      uri: this.#source.uri,
      primary: manifest?.primary,
      keys: (manifest?.keys ?? []).map(({ id, state }) => ({
        id,
        state,
        decrypts: this.#decrypts.of(id),
      })),
      lastGoodProbeAgeMs: this.#health.lastGoodAgeMs,
      warnings: [...(error ? [`${error.code}: ${error.message}`] : []), ...(this.#keyset?.warnings ?? [])],
      counters: this.#counters,
    };
  }

  get keyset(): Keyset | undefined {
    return this.#keyset;
  }

  usableKeyset(): MaybePromise<Keyset> {
    if (this.#starting.pending) return this.#starting.pending.then(() => this.usableKeyset());
    return this.#usableKeyset();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopWatch?.();
    this.#refresher.stop();
    this.#keyset?.destroy();
    this.#keyset = undefined;
    await this.#source.close?.();
  }

  #watch(): void {
    this.#stopWatch?.();
    this.#stopWatch = this.#closed ? undefined : this.#source.watch(() => this.#refresher.trigger());
  }

  #usableKeyset(): Keyset {
    const keyset = this.#unexpired();
    if (!keyset) throw this.#notReady();
    const goneForMs = this.#health.goneForMs;
    if (goneForMs !== undefined && goneForMs > this.#goneGraceMs) this.#health.healthz();
    return keyset;
  }

  /** The keyset, unless its store has not confirmed it for too long: then it is wiped. */
  #unexpired(): Keyset | undefined {
    const { maxUnconfirmedMs = Infinity } = this.#source;
    if (this.#keyset && this.#clock.now() - this.#confirmedAt > maxUnconfirmedMs) {
      this.#keyset.destroy();
      this.#keyset = undefined;
    }
    return this.#keyset;
  }

  #open(keyset: Keyset, envelope: Envelope, context: CallContext): MaybePromise<Buffer> {
    return this.#decrypts.addWith(envelope.keyId, this.#crypto.open(keyset.find(envelope.keyId), envelope, context));
  }

  /** Another replica may have switched first: look at the store once before calling a key unknown (design D4). */
  async #refreshAndOpen(envelope: Envelope, context: CallContext): Promise<Buffer> {
    const { keyId } = envelope;
    const looked = this.#unknown.has(keyId) || (await unlessAborted(this.#lookForKey(), context.signal));
    try {
      return await this.#open(this.#usableKeyset(), envelope, context);
    } catch (error) {
      if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_UNKNOWN_KEY') throw error;
      if (!looked) throw cannotLook(keyId, this.#health.lastError);
      if (this.#unknown.add(keyId)) {
        this.#counters.unknown_keys++;
        this.#onEvent({ type: 'unknown-key', keyId });
      }
      throw error;
    }
  }

  /** One look for all who ask, and not at once again. */
  #lookForKey(): Promise<boolean> {
    this.#looking ??= this.#untilNextLook().then(() => {
      this.#looking = undefined;
      this.#lookedAt = this.#clock.now();
      return this.#refresher.refresh();
    });
    return this.#looking;
  }

  async #untilNextLook(): Promise<void> {
    const wait = this.#lookedAt + UNKNOWN_KEY_INTERVAL_MS - this.#clock.now();
    if (wait > 0) await new Promise<void>((resolve) => this.#clock.after(wait, resolve));
  }

  async #load(signal: AbortSignal): Promise<boolean> {
    try {
      const load = () => unlessAborted(this.#source.load({ signal }), signal, (late) => late.destroy());
      this.#use(await timed('load', load, this.#onEvent));
      this.#counters.loads++;
      const healed = this.#health.lastError !== undefined;
      if (this.#health.good()) this.#onEvent({ type: 'store-ok' });
      // What was watched may have been another directory, or none.
      if (healed) this.#watch();
      return true;
    } catch (error) {
      if (this.#closed) return false;
      this.#counters.load_failures++;
      this.#failed(KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', 'the key store failed'));
      return false;
    }
  }

  #use(keyset: Keyset): void {
    if (this.#closed) return keyset.destroy();
    const before = this.#keyset;
    this.#keyset = keyset;
    this.#confirmedAt = this.#clock.now();
    before?.destroy();
    const from = before?.manifest.primary;
    const to = keyset.manifest.primary;
    if (from === to) return;
    if (from !== undefined) this.#counters.key_switches++;
    this.#onEvent({ type: 'key-switched', from, to });
  }

  #failed(error: KmsError): void {
    const news = this.#health.lastError?.message !== error.message;
    const readable = error.code === 'ERR_KMS_KEYSET_INVALID' || error.code === 'ERR_KMS_KEYSET_PERMISSIONS';
    if (readable && this.#keyset) this.#health.damaged(error);
    else this.#health.failed(error);
    this.#unexpired();
    if (news) this.#onEvent({ type: 'store-failed', error });
  }

  #notReady(): KmsError {
    if (this.#closed) return new KmsError('ERR_KMS_CLOSED', 'the instance is shutting down');
    const cause = this.#health.lastError;
    const reason = cause?.message ?? 'the key store has not answered yet';
    return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `no key is loaded: ${reason}`, { cause });
  }
}
