import { randomFillSync } from 'node:crypto';
import { EnvelopeKey } from '../../envelope/envelope.ts';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import { timed } from '../../util/timed.ts';
import { KekCache } from './kek-cache.ts';
import type { LocalKekParts } from './kek-cache.ts';
import type { RemoteContext, RemoteKek, RemoteKekDescription } from './remote-kek.ts';

interface Aged {
  readonly key: EnvelopeKey;
  readonly since: number;
}

/** The local KEK that seals, and its predecessor, whose key_id Status may have announced (design D1). */
export class SealingKeks {
  readonly #options: LocalKekParts;
  #current: Aged | undefined;
  #previous: Aged | undefined;
  #destroyed = false;
  wraps = 0;

  constructor(options: LocalKekParts) {
    this.#options = options;
  }

  /** The key id for Status. It is known even while the local KEK is too old to seal. */
  get keyId(): string | undefined {
    return this.#current?.key.keyId;
  }

  /** The local KEK to seal with, or `undefined` if none is young enough. */
  usable(announcedKeyId: string | undefined): EnvelopeKey | undefined {
    const { clock, hardAgeMs } = this.#options;
    // After a renewal by age both have the same id. Then the newer one seals.
    const current = announcedKeyId === undefined || announcedKeyId === this.#current?.key.keyId;
    const aged = !current && announcedKeyId === this.#previous?.key.keyId ? this.#previous : this.#current;
    return aged && clock.now() - aged.since < hardAgeMs ? aged.key : undefined;
  }

  /** Whether the next {@link SealingKeks.renew} makes a new local KEK. */
  isDue(primary: string): boolean {
    const { clock, softAgeMs } = this.#options;
    return this.#current?.key.keyId !== primary || clock.now() - this.#current.since >= softAgeMs;
  }

  /** Makes a new local KEK if the primary has changed or the current one has reached its soft age. */
  async renew(description: RemoteKekDescription, signal: AbortSignal): Promise<void> {
    const { clock, cache } = this.#options;
    const current = this.#current;
    if (!this.isDue(description.primary)) return;
    const made = await this.make(description.primary, description.contextId, signal);
    // A late one could bring back a key that is no longer the primary.
    if (this.#destroyed || signal.aborted) {
      destroyLocalKek(made);
      return;
    }
    cache.set(KekCache.keyOf(description.primary, made.wrapped), made.opening);
    this.#previous?.key.destroy();
    this.#previous = current;
    this.#current = { key: made.sealing, since: clock.now() };
  }

  make(keyId: string, contextId: Buffer, signal: AbortSignal): Promise<LocalKek> {
    this.wraps++;
    const { remote, clock, onEvent } = this.#options;
    return timed(clock, 'wrap', () => newLocalKek(remote, keyId, contextId, { signal }), onEvent);
  }

  destroy(): void {
    this.#destroyed = true;
    this.#current?.key.destroy();
    this.#previous?.key.destroy();
  }
}

/** A local KEK: one half seals here, the other one opens and may go to the cache. */
export interface LocalKek {
  readonly sealing: EnvelopeKey;
  readonly opening: EnvelopeKey;
  readonly wrapped: Buffer;
}

export function destroyLocalKek({ sealing, opening }: LocalKek): void {
  sealing.destroy();
  opening.destroy();
}

/** Creates a random local KEK, which the token wraps under version `keyId`. */
export async function newLocalKek(
  remote: RemoteKek,
  keyId: string,
  contextId: Buffer,
  context: RemoteContext,
): Promise<LocalKek> {
  const key = new SecretBytes(Buffer.alloc(KEY_BYTES));
  try {
    randomFillSync(key.expose());
    const wrapped = await remote.wrap(keyId, key, context);
    const copy = () => new SecretBytes(Buffer.from(key.expose()));
    return {
      sealing: new EnvelopeKey({ key: copy(), keyId, contextId, wrapped }),
      opening: new EnvelopeKey({ key: copy(), keyId, contextId, wrapped }),
      wrapped,
    };
  } finally {
    key.wipe();
  }
}
