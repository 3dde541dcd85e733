import { LRUCache } from 'lru-cache';
import type { OpeningKey } from '../../envelope/envelope.ts';
import type { EventListener } from '../../kms-service.ts';
import type { Clock } from '../../util/clock.ts';
import type { LocalKekLimits, RemoteKek } from './remote-kek.ts';

/** What the parts of a service share. */
export interface LocalKekParts extends LocalKekLimits {
  readonly remote: RemoteKek;
  readonly clock: Clock;
  readonly onEvent: EventListener;
  readonly cache: KekCache;
  /** Time in ms that one operation may take. */
  readonly timeoutMs: number;
}

type KekCacheOptions = Pick<LocalKekParts, 'clock' | 'cacheEntries' | 'softAgeMs' | 'hardAgeMs'>;

interface Entry {
  readonly kek: OpeningKey;
  readonly since: number;
}

/**
 * Unwrapped local KEKs by their wrapped form. Holds only the opening half of each.
 *
 * An entry that is evicted is destroyed after the current turn of the event loop: the caller that just got it opens with it in this turn or
 * in its microtasks.
 */
export class KekCache {
  readonly #options: KekCacheOptions;
  readonly #entries: LRUCache<string, Entry>;
  evictions = 0;

  constructor(options: KekCacheOptions) {
    this.#options = options;
    this.#entries = new LRUCache({
      // `max` would allocate room for all entries at once: 250 kB in each of hundreds of instances.
      maxSize: options.cacheEntries,
      sizeCalculation: () => 1,
      dispose: (entry, _key, reason) => {
        if (reason === 'evict') this.evictions++;
        setImmediate(() => entry.kek.destroy());
      },
    });
  }

  /**
   * The cache key: the KEK's id and the wrapped form itself, at most 512 bytes. A hash of them (design D6) costs more than it saves:
   * 1.4 µs against 0.3 µs for the look-up.
   */
  static keyOf(keyId: string, wrapped: Buffer): string {
    return `${keyId}:${wrapped.toString('latin1')}`;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The local KEK and whether it should be refreshed; `undefined` if it is unknown or too old. */
  get(key: string): { kek: OpeningKey; stale: boolean } | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    const age = this.#options.clock.now() - entry.since;
    if (age >= this.#options.hardAgeMs) {
      this.#entries.delete(key);
      return undefined;
    }
    return { kek: entry.kek, stale: age >= this.#options.softAgeMs };
  }

  set(key: string, kek: OpeningKey): void {
    this.#entries.set(key, { kek, since: this.#options.clock.now() });
  }

  /** Drops entries that are too old. lru-cache would keep them in memory until they are read. */
  sweep(): void {
    const deadline = this.#options.clock.now() - this.#options.hardAgeMs;
    for (const [key, entry] of this.#entries.entries()) if (entry.since <= deadline) this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
