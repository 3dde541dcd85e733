import { LRUCache } from 'lru-cache';
import type { Clock } from '../../util/clock.ts';
import type { OpeningKey } from '../../envelope/envelope.ts';

export interface KekCacheOptions {
  readonly clock: Clock;
  /** Most local KEKs held open. */
  readonly maxEntries: number;
  /** ms after which an entry should be unwrapped again in the background. */
  readonly softAgeMs: number;
  /** ms after which an entry is not used any more: how long a revoked KEK can still open. */
  readonly hardAgeMs: number;
}

interface Entry {
  readonly kek: OpeningKey;
  readonly since: number;
}

/**
 * Local KEKs that were unwrapped, by what they were unwrapped from. Holds only the opening half of each.
 *
 * An entry that falls out is destroyed, but only after the current turn of the event loop: whoever just got it opens
 * with it synchronously or in the microtasks that follow.
 */
export class KekCache {
  readonly #options: KekCacheOptions;
  readonly #entries: LRUCache<string, Entry>;
  evictions = 0;

  constructor(options: KekCacheOptions) {
    this.#options = options;
    this.#entries = new LRUCache({
      // Not `max`, which makes room for all of them at once: 250 kB in each of hundreds of instances.
      maxSize: options.maxEntries,
      sizeCalculation: () => 1,
      dispose: (entry, _key, reason) => {
        if (reason === 'evict') this.evictions++;
        setImmediate(() => entry.kek.destroy());
      },
    });
  }

  /**
   * What distinguishes one wrapped local KEK from another: the KEK's id and the wrapped form itself, at most 512 bytes.
   * Hashing it (design D6) would cost more than the look-up does: 1.4 µs against 0.3 with it.
   */
  static keyOf(keyId: string, wrapped: Buffer): string {
    return `${keyId}:${wrapped.toString('latin1')}`;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The local KEK with whether it should be refreshed, or `undefined` where it is unknown or too old. */
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

  /** Drops what is too old: lru-cache itself would keep a key in memory until somebody asks for it. */
  sweep(): void {
    const deadline = this.#options.clock.now() - this.#options.hardAgeMs;
    for (const [key, entry] of this.#entries.entries()) if (entry.since <= deadline) this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }
}
