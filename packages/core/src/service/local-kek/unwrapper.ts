import type { Envelope } from '../../envelope/codec.ts';
import { EnvelopeKey } from '../../envelope/envelope.ts';
import type { OpeningKey } from '../../envelope/envelope.ts';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import { unlessAborted } from '../../util/abort.ts';
import { SingleFlight } from '../../util/single-flight.ts';
import { timed } from '../../util/timed.ts';
import { withTimeout } from '../../util/timeout.ts';
import { KekCache } from './kek-cache.ts';
import type { LocalKekParts } from './kek-cache.ts';

type UnwrapperOptions = Omit<LocalKekParts, 'softAgeMs' | 'hardAgeMs' | 'cacheEntries'>;

/** Gets the local KEK of an envelope: from the cache, from an unwrap that is under way, or from the token. */
export class Unwrapper {
  readonly #options: UnwrapperOptions;
  readonly #flights = new SingleFlight<OpeningKey>();
  readonly counters = { unwraps: 0, cache_hits: 0, coalesced_unwraps: 0, background_unwraps: 0, rejected: 0 };
  #directUses = 0;
  #closed = false;

  constructor(options: UnwrapperOptions) {
    this.#options = options;
  }

  /** The name of an envelope's local KEK in the cache and among the unwraps. Costly: make it once for each call. */
  nameOf({ keyId, wrapped }: Envelope): string {
    // In direct mode each use is an operation of its own, for the token's audit log.
    return this.#options.direct ? `direct ${this.#directUses++}` : KekCache.keyOf(keyId, wrapped);
  }

  /** The local KEK if it is in the cache. One that is beyond its soft age is unwrapped again in the background. */
  cached(name: string, envelope: Envelope, contextId: Buffer): OpeningKey | undefined {
    if (this.#options.direct) return undefined;
    const found = this.#options.cache.get(name);
    if (!found) return undefined;
    this.counters.cache_hits++;
    if (found.stale && !this.#flights.join(name) && this.#flights.size < this.#options.maxPending) {
      this.counters.background_unwraps++;
      // A failure is ignored: the probe reports the state of the token, and the entry can be used until its hard age.
      this.#flights.run(name, () => this.#unwrap(name, envelope, contextId)).catch(() => undefined);
    }
    return found.kek;
  }

  /**
   * @throws {@link KmsError} as {@link RemoteKek.unwrap}; `ERR_KMS_OVERLOADED` if too many distinct keys wait for the token
   */
  unwrap(name: string, envelope: Envelope, contextId: Buffer): Promise<OpeningKey> {
    const underWay = this.#flights.join(name);
    if (underWay) {
      this.counters.coalesced_unwraps++;
      return underWay;
    }
    if (this.#flights.size >= this.#options.maxPending) {
      this.counters.rejected++;
      throw overloaded(this.#options.maxPending);
    }
    return this.#flights.run(name, () => this.#unwrap(name, envelope, contextId));
  }

  /** Keys that arrive from now on are wiped. */
  close(): void {
    this.#closed = true;
  }

  async #unwrap(name: string, envelope: Envelope, contextId: Buffer): Promise<OpeningKey> {
    this.counters.unwraps++;
    const { keyId } = envelope;
    // The operation goes on when its caller gives up, and the request's buffer may then be reused or wiped.
    const wrapped = Buffer.from(envelope.wrapped);
    const { remote, cache, clock, timeoutMs, direct, onEvent } = this.#options;
    const bytes = await withTimeout(clock, timeoutMs, 'the token', (signal) => {
      const unwrap = () => unlessAborted(remote.unwrap(keyId, wrapped, { signal }), signal, (late) => late.wipe());
      return timed(clock, 'unwrap', unwrap, onEvent);
    });
    if (bytes.length !== KEY_BYTES) {
      bytes.wipe();
      throw new KmsError('ERR_KMS_UNWRAP_FAILED', `the token unwrapped ${bytes.length} bytes, not ${KEY_BYTES}`);
    }
    const kek = new EnvelopeKey({ key: bytes, keyId, contextId, wrapped });
    if (direct || this.#closed) setImmediate(() => kek.destroy());
    else cache.set(name, kek);
    return kek;
  }
}

/** The error for an operation that finds too many others waiting. */
export function overloaded(maxPending: number): KmsError {
  return new KmsError('ERR_KMS_OVERLOADED', `${maxPending} operations already wait for the key store`);
}
