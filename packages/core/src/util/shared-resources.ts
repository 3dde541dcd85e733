import { KmsError } from '../errors.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import type { TokenHostEvent } from '../stores/pkcs11/token-host/token-host.ts';

export type ResourceEvent = TokenHostEvent;

/** Something that costs enough that the instances of one process share it: a token host, a watch, a connection. */
export interface SharedResource {
  close(): Promise<void> | void;
}

interface Entry {
  readonly resource: SharedResource;
  users: number;
}

/**
 * What the instances of one process have in common: one of each thing, made by the first who asks for it and closed
 * with the last who lets go of it. The plugin makes one of these and gives it to every key store that it opens.
 */
export class SharedResources {
  /** Told what happens to shared things: that concerns the process rather than one instance. */
  readonly report: (event: ResourceEvent) => void;
  /** Variables of our environment that hold secrets: no process that is started gets any of them. */
  readonly secretVariables = new Set<string>();
  /** The clock of every key store. */
  readonly clock: Clock;
  readonly #entries = new Map<string, Entry>();

  constructor(report: (event: ResourceEvent) => void = () => undefined, clock: Clock = systemClock) {
    this.report = report;
    this.clock = clock;
  }

  /** Things in use now. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * @param key - names the thing among all kinds, e.g. `pkcs11 /usr/lib/softhsm/libsofthsm2.so`
   * @param make - makes it where there is none yet; the same key must always mean the same type
   */
  acquire<T extends SharedResource>(key: string, make: () => T): Lease<T> {
    let entry = this.#entries.get(key);
    if (!entry) {
      entry = { resource: make(), users: 0 };
      this.#entries.set(key, entry);
    }
    const used = entry;
    used.users++;
    return new Lease(used.resource as T, async () => {
      if (--used.users > 0) return;
      this.#entries.delete(key);
      await used.resource.close();
    });
  }
}

/** One user's hold of a shared thing. */
export class Lease<T extends SharedResource> {
  readonly #resource: T;
  readonly #giveBack: () => Promise<void>;
  #released: Promise<void> | undefined;

  constructor(resource: T, giveBack: () => Promise<void>) {
    this.#resource = resource;
    this.#giveBack = giveBack;
  }

  /** @throws {@link KmsError} `ERR_KMS_CLOSED` after {@link Lease.release} */
  get resource(): T {
    if (this.#released) throw new KmsError('ERR_KMS_CLOSED', 'this key store was closed');
    return this.#resource;
  }

  /** May come twice. */
  release(): Promise<void> {
    this.#released ??= this.#giveBack();
    return this.#released;
  }
}
