import { inlineEngine } from '../crypto/engine.ts';
import type { CryptoEngine } from '../crypto/engine.ts';
import { checkKeyId, decodeEnvelope } from '../envelope/codec.ts';
import type { Envelope } from '../envelope/codec.ts';
import type { OpeningKey } from '../envelope/envelope.ts';
import { KmsError, unavailable } from '../errors.ts';
import type {
  CallContext,
  DecryptRequest,
  EncryptContext,
  EncryptResult,
  EventListener,
  KmsService,
  MaybePromise,
  ServiceDescription,
  ReportSubject,
  StatusResult,
} from '../kms-service.ts';
import type { KeyProof } from '../keyset/key-proof.ts';
import { FORMAT_VERSIONS } from '../keyset/manifest.ts';
import type { StoredManifest } from '../keyset/manifest.ts';
import { makeReport } from '../keyset/report.ts';
import type { ReplicaReport } from '../keyset/report.ts';
import { unlessAborted } from '../util/abort.ts';
import { systemClock } from '../util/clock.ts';
import type { Clock } from '../util/clock.ts';
import { paced } from '../util/paced.ts';
import type { Paced } from '../util/paced.ts';
import type { Damage } from './damage.ts';
import { DecryptCounts } from './decrypt-counts.ts';
import type { KeysetGuard } from './keyset-guard.ts';
import { NegativeCache } from './negative-cache.ts';
import { Refresher } from './refresher.ts';
import { StoreHealth } from './store-health.ts';

export interface ServiceOptions {
  readonly onEvent?: EventListener;
  readonly clock?: Clock;
  /** Seals and opens. Its creator closes it. Default: inline, in this thread. */
  readonly crypto?: CryptoEngine;
  /** Decides whether a changed keyset may be used. Default: each one may. */
  readonly guard?: KeysetGuard;
  /** Time in ms between two probes of the key store. Default 30 s. */
  readonly probeIntervalMs?: number;
  /** Time in ms after the last good probe in which Status stays ok. Default 2 min (design D3). */
  readonly statusGraceMs?: number;
}

/** What both kinds of key store have. */
interface Store {
  readonly uri: string;
  watch?(onChange: () => void): () => void;
  close?(): Promise<void>;
}

/** Longest time in ms that calls wait for the first answer of the store: below the 3 s that kube-apiserver gives a call. */
const FIRST_ANSWER_MS = 2_000;
/** Loads for changes that the watch reports. One change may be several events. */
const WATCH_PACE = { burst: 5, everyMs: 500 };
/** Time in ms for which an unknown key id is not looked up again. */
const UNKNOWN_KEY_TTL_MS = 5_000;

/**
 * What does not depend on where the key is: the background probe and what Status makes of it, the start, unknown keys, the watch, and the
 * end. A subclass holds the keys.
 */
export abstract class BaseService implements KmsService {
  protected readonly clock: Clock;
  protected readonly crypto: CryptoEngine;
  protected readonly onEvent: EventListener;
  protected readonly health: StoreHealth;
  protected readonly counters = { key_switches: 0, unknown_keys: 0 };
  protected closed = false;
  /** Probes that did not learn which keys the store has. */
  protected probeFailures = 0;
  readonly #store: Store;
  protected readonly guard: KeysetGuard | undefined;
  readonly #refresher: Refresher;
  /** Loads that the watch asks for. */
  readonly #changes: Paced;
  readonly #unknown: NegativeCache;
  readonly #decrypts = new DecryptCounts();
  #stopWatch: (() => void) | undefined;

  /**
   * Pending from the start until the store has answered or two seconds are over. Calls wait for it, so that a restart of the plugin does not
   * cost its kube-apiserver a failed request.
   */
  protected starting: Promise<void> | undefined;

  /** @param timeoutMs - time that one probe may take */
  constructor(store: Store, timeoutMs: number, options: ServiceOptions) {
    const { clock = systemClock, probeIntervalMs: intervalMs = 30_000 } = options;
    this.clock = clock;
    this.crypto = options.crypto ?? inlineEngine;
    this.onEvent = options.onEvent ?? (() => undefined);
    this.health = new StoreHealth(clock, options.statusGraceMs ?? 2 * 60_000);
    this.#store = store;
    this.guard = options.guard;
    this.#unknown = new NegativeCache(clock, UNKNOWN_KEY_TTL_MS);
    this.#refresher = new Refresher({ clock, intervalMs, timeoutMs, run: (signal) => this.#probe(signal) });
    this.#changes = paced(clock, WATCH_PACE, () => void this.#refresher.refresh());
  }

  abstract holds(keyId: string): boolean;

  /** Reads the store and takes over what it holds. */
  protected abstract readStore(signal: AbortSignal): Promise<Damage | undefined>;
  /** The key id that Status announces, if there is one. */
  protected abstract announcedKeyId(): string | undefined;
  protected abstract seal(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult>;
  protected abstract open(envelope: Envelope, context: CallContext): MaybePromise<Buffer>;
  /** Whether keys are loaded that open. */
  protected abstract get opens(): boolean;
  /** The keyset in use and what proves its keys, if one is loaded. */
  protected abstract held():
    { readonly manifest: StoredManifest | undefined; readonly proofs: ReadonlyMap<string, KeyProof> } | undefined;
  protected abstract describeKeys(): Pick<ServiceDescription, 'cacheEntries' | 'counters'> & {
    readonly warnings: readonly (KmsError | string)[];
    readonly keys: readonly { readonly id: string; readonly state: string; readonly verified: boolean }[];
  };
  protected abstract destroyKeys(): void;

  start(): void {
    this.#watch();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const goOn = (): void => {
      cancel();
      this.starting = undefined;
      resolve(undefined);
    };
    const cancel = this.clock.after(FIRST_ANSWER_MS, goOn);
    this.starting = promise;
    void this.#refresher.refresh().then(goOn);
  }

  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    if (this.starting) return this.starting.then(() => this.encrypt(plaintext, context));
    if (this.closed) throw this.refusal();
    return this.seal(plaintext, context);
  }

  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer> {
    if (this.starting) return this.starting.then(() => this.decrypt(request, context));
    if (this.closed) throw this.refusal();
    const envelope = decodeEnvelope(request.ciphertext);
    checkKeyId(envelope, request.keyId);
    return this.open(envelope, context);
  }

  status(): MaybePromise<StatusResult> {
    if (this.starting) return this.starting.then(() => this.status());
    const keyId = this.closed ? undefined : this.announcedKeyId();
    if (keyId === undefined) throw this.refusal();
    return { healthz: this.health.healthz(), keyId };
  }

  ready(): MaybePromise<void> {
    if (this.starting) return this.starting.then(() => this.ready());
    if (this.closed || !this.opens) throw this.refusal();
  }

  describe(): ServiceDescription {
    const { keys, warnings, counters, ...more } = this.describeKeys();
    const error = this.health.lastError;
    const { manifest } = this.held() ?? {};
    const problems = new Set([...(error ? [error] : []), ...warnings]);
    return {
      uri: this.#store.uri,
      primary: this.announcedKeyId(),
      ...more,
      ...(manifest && {
        keyset: { contextId: manifest.contextId, generation: manifest.generation, hash: manifest.hash },
      }),
      keys: keys.map(({ id, state, verified }) => {
        const decrypts = this.#decrypts.of(id);
        return { id, state, decrypts, verified: verified || decrypts > 0 };
      }),
      lastGoodProbeAgeMs: this.health.lastGoodAgeMs,
      warnings: [...problems].map(warningOf),
      hints: (this.guard?.hints ?? []).map(warningOf),
      counters: { ...this.counters, ...counters },
    };
  }

  report(about: ReportSubject): ReplicaReport {
    const { manifest, proofs } = this.held() ?? {};
    if (!manifest || !proofs) throw this.refusal();
    const { contextId, generation, hash } = manifest;
    return makeReport({ ...about, contextId, generation, hash, reads: FORMAT_VERSIONS }, proofs);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.#stopWatch?.();
    this.#changes.cancel();
    this.#refresher.stop();
    this.destroyKeys();
    await this.#store.close?.();
  }

  /** Opens the envelope and counts the Decrypt for its key. */
  protected openWith(key: OpeningKey, envelope: Envelope, context: CallContext): MaybePromise<Buffer> {
    return this.#decrypts.addWith(envelope.keyId, this.crypto.open(key, envelope, context));
  }

  /** Reports that another key seals from now on. */
  protected switched(from: string | undefined, to: string | undefined): void {
    if (to === undefined || from === to) return;
    if (from !== undefined) this.counters.key_switches++;
    this.onEvent({ type: 'key-switched', from, to });
  }

  /**
   * Reads the store for a call that cannot go on without it. Concurrent callers share one refresh, at most one per second, whatever they
   * ask for: the store may be shared by hundreds of instances.
   * @returns whether the store answered
   */
  protected refresh({ signal }: CallContext): Promise<boolean> {
    return unlessAborted(this.#refresher.refreshOnDemand(), signal);
  }

  /**
   * Looks for a key that is not in memory: another replica may have rotated first, so the store is read before the key counts as unknown
   * (design D4).
   * @param find - returns `undefined` while the key is not in memory
   * @throws {@link KmsError} `ERR_KMS_UNKNOWN_KEY`; `ERR_KMS_STORE_UNAVAILABLE` if the store did not answer
   */
  protected async findAfterRefresh<T>(
    keyId: string,
    find: () => MaybePromise<T> | undefined,
    context: CallContext,
  ): Promise<T> {
    const answered = this.#unknown.has(keyId) || (await this.refresh(context));
    if (this.closed) throw this.refusal();
    const found = find();
    if (found !== undefined) return found;
    if (!answered) throw this.#unavailable(`Key ${keyId} is not in memory, and the key store cannot be read`);
    if (this.#unknown.add(keyId)) {
      this.counters.unknown_keys++;
      this.onEvent({ type: 'unknown-key', keyId });
    }
    throw new KmsError('ERR_KMS_UNKNOWN_KEY', `key ${keyId} is not in ${this.#store.uri}`);
  }

  /**
   * The error for a call that no key can serve.
   * @throws {@link KmsError} `ERR_KMS_KEY_GONE` if the key is gone for certain
   */
  protected refusal(): KmsError {
    if (this.closed) return new KmsError('ERR_KMS_CLOSED', 'the instance is shutting down');
    this.health.healthz();
    return this.opens
      ? this.#unavailable('No key may encrypt', 'Only Decrypt works.')
      : this.#unavailable('No key is loaded', 'All calls are refused.');
  }

  #unavailable(what: string, consequence = ''): KmsError {
    const cause = this.health.lastError;
    const reason = cause?.message ?? 'the key store has not answered yet';
    const message = `${what}: ${reason.replace(/\.$/, '')}. ${consequence}`;
    return unavailable(message.trimEnd(), { cause, remedy: cause?.remedy });
  }

  async #probe(signal: AbortSignal): Promise<boolean> {
    try {
      const damage = await this.readStore(signal);
      if (damage) return this.#troubled(damage, !damage.primary);
      const recovered = this.health.lastError !== undefined;
      if (this.health.good()) this.onEvent({ type: 'store-ok' });
      // The watch may have ended with what it watched, for example with a directory that was replaced.
      if (recovered) this.#watch();
      return true;
    } catch (error) {
      const failure = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', 'the key store failed');
      return this.#troubled({ error: failure, answered: false }, false);
    }
  }

  #troubled({ error, answered }: Omit<Damage, 'primary'>, keysStay: boolean): boolean {
    if (this.closed) return false;
    if (!answered) this.probeFailures++;
    const news = this.health.lastError?.message !== error.message;
    if (keysStay) this.health.damaged(error);
    else this.health.failed(error);
    if (news) this.onEvent({ type: 'store-failed', error, keyLoaded: this.opens });
    return answered;
  }

  #watch(): void {
    this.#stopWatch?.();
    this.#stopWatch = this.closed ? undefined : this.#store.watch?.(() => this.#changes.call());
  }
}

function warningOf(problem: KmsError | string): string {
  if (typeof problem === 'string') return problem;
  const { code, message, remedy } = problem;
  return `${code}: ${message}${remedy === undefined ? '' : `; fix: ${remedy}`}`;
}
