import { KmsError } from '../errors.ts';
import { systemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import type { CloudEvent } from '../stores/barbican/keystone/cloud.ts';
import type { TokenHostEvent } from '../stores/pkcs11/token-host/token-host.ts';

/** For the operator: somebody else could read a secret. */
export interface ExposureEvent {
  readonly type: 'secret-exposed';
  readonly text: string;
  readonly remedy: string;
}

export type ResourceEvent = TokenHostEvent | CloudEvent | ExposureEvent;

/** Something that the instances of one process share because of its cost: a token host, a watch, a connection. */
export interface SharedResource {
  close(): Promise<void> | void;
}

interface Entry {
  readonly resource: SharedResource;
  users: number;
}

/**
 * The resources that the instances of one process share. The first user of a resource creates it, the last one closes it. The plugin has one
 * of these for all key stores.
 */
export class SharedResources {
  /** Receives the events of shared resources, which concern the process rather than one instance. */
  readonly report: (event: ResourceEvent) => void;
  /** Names of environment variables that hold secrets. No child process gets them. */
  readonly secretVariables = new Set<string>();
  /** Where PINs are. What a module prints must not repeat one. */
  readonly pinSources = new Set<string>();
  /** The clock of every key store. */
  readonly clock: Clock;
  readonly #entries = new Map<string, Entry>();

  constructor(report: (event: ResourceEvent) => void = () => undefined, clock: Clock = systemClock) {
    this.report = report;
    this.clock = clock;
  }

  /** Resources in use. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * @param key - identifies the resource among all kinds, for example `pkcs11 /usr/lib/softhsm/libsofthsm2.so`
   * @param make - creates the resource if there is none yet. The same key must always mean the same type
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

/** One user's hold on a shared resource. */
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
    if (this.#released) throw new KmsError('ERR_KMS_CLOSED', 'the key store is closed');
    return this.#resource;
  }

  /** May be called twice. */
  release(): Promise<void> {
    this.#released ??= this.#giveBack();
    return this.#released;
  }
}
