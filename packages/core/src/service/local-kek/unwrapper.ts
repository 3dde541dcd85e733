import { unlessAborted } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import type { Envelope } from '../../envelope/codec.ts';
import { EnvelopeKey } from '../../envelope/envelope.ts';
import type { OpeningKey } from '../../envelope/envelope.ts';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import type { EventListener } from '../../kms-service.ts';
import { timed } from '../../util/timed.ts';
import { KekCache } from './kek-cache.ts';
import type { RemoteKek } from './remote-kek.ts';
import { SingleFlight } from '../../util/single-flight.ts';

export interface UnwrapperOptions {
  readonly remote: RemoteKek;
  readonly clock: Clock;
  readonly cache: KekCache;
  readonly onEvent: EventListener;
  /** Never use the cache. */
  readonly direct: boolean;
  /** ms that one unwrap may take. */
  readonly timeoutMs: number;
  /** Most unwraps under way; waiters for the same one are not counted. */
  readonly maxPending: number;
}

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

  /** By what the local KEK of an envelope is found in the cache or under way; made once for each call, it is no trifle. */
  nameOf({ keyId, wrapped }: Envelope): string {
    // In direct mode each use is an operation of its own, for the token's audit log.
    return this.#options.direct ? `direct ${this.#directUses++}` : KekCache.keyOf(keyId, wrapped);
  }

  /** The local KEK if it is in the cache; one beyond its soft age is unwrapped again behind the scenes. */
  cached(name: string, envelope: Envelope, contextId: Buffer): OpeningKey | undefined {
    if (this.#options.direct) return undefined;
    const found = this.#options.cache.get(name);
    if (!found) return undefined;
    this.counters.cache_hits++;
    if (found.stale && !this.#flights.join(name) && this.#flights.size < this.#options.maxPending) {
      this.counters.background_unwraps++;
      // Its failure is no news: the probe tells how the token is, and the entry stays good until its hard age.
      this.#flights.run(name, () => this.#unwrap(name, envelope, contextId)).catch(() => undefined);
    }
    return found.kek;
  }

  /**
   * @throws {@link KmsError} what the token answers; `ERR_KMS_OVERLOADED` when too many distinct keys wait for it
   */
  unwrap(name: string, envelope: Envelope, contextId: Buffer): Promise<OpeningKey> {
    const underWay = this.#flights.join(name);
    if (underWay) {
      this.counters.coalesced_unwraps++;
      return underWay;
    }
    if (this.#flights.size >= this.#options.maxPending) {
      this.counters.rejected++;
      throw new KmsError('ERR_KMS_OVERLOADED', `${this.#options.maxPending} operations wait for the key store already`);
    }
    return this.#flights.run(name, () => this.#unwrap(name, envelope, contextId));
  }

  /** What is still under way then is wiped as it arrives. */
  close(): void {
    this.#closed = true;
  }

  async #unwrap(name: string, envelope: Envelope, contextId: Buffer): Promise<OpeningKey> {
    this.counters.unwraps++;
    // The request's buffer may be reused or wiped when its caller gives up; the operation goes on.
    const { keyId } = envelope;
    const wrapped = Buffer.from(envelope.wrapped);
    const { remote, cache, clock, timeoutMs, direct, onEvent } = this.#options;
    const timeout = new AbortController();
    const cancel = clock.after(timeoutMs, () =>
      timeout.abort(new KmsError('ERR_KMS_STORE_UNAVAILABLE', `the token did not answer within ${timeoutMs} ms`)),
    );
    try {
      const context = { signal: timeout.signal };
      const unwrap = () => unlessAborted(remote.unwrap(keyId, wrapped, context), timeout.signal, (late) => late.wipe());
      const bytes = await timed('unwrap', unwrap, onEvent);
      if (bytes.length !== KEY_BYTES) {
        bytes.wipe();
        throw new KmsError('ERR_KMS_UNWRAP_FAILED', `the token unwrapped ${bytes.length} bytes, not ${KEY_BYTES}`);
      }
      const kek = new EnvelopeKey({ key: bytes, keyId, contextId, wrapped });
      if (direct || this.#closed) setImmediate(() => kek.destroy());
      else cache.set(name, kek);
      return kek;
    } finally {
      cancel();
    }
  }
}
