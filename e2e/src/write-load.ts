import { isDeepStrictEqual } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError } from './api-client.ts';
import type { ApiClient, KubeObject } from './api-client.ts';

/** ms that a writer waits after a failure, so as not to spin while a server is down. */
const PAUSE_MS = 50;
/** Each writer creates this many objects, then overwrites them in turn, so that reading all back stays quick. */
const OBJECTS_PER_WRITER = 100;

export interface WriteLoadOptions {
  readonly collection: string;
  /** What the objects' names begin with. */
  readonly name: string;
  /** An object with new content in `data`. */
  readonly make: (name: string) => KubeObject;
  readonly writers: number;
}

/** What may be read back of one object. */
interface Written {
  acknowledged: KubeObject | undefined;
  /** Writes since then that failed: one may have been made all the same, when a server died before it answered. */
  unknown: KubeObject[];
}

/** Writes objects as fast as it can, and remembers what the server acknowledged. */
export class WriteLoad {
  readonly failures: Error[] = [];
  acknowledged = 0;
  readonly #client: ApiClient;
  readonly #options: WriteLoadOptions;
  readonly #written = new Map<string, Written>();
  readonly #writers: Promise<void>[];
  #stopping = false;

  constructor(client: ApiClient, options: WriteLoadOptions) {
    this.#client = client;
    this.#options = options;
    this.#writers = Array.from({ length: options.writers }, (_, writer) => this.#write(writer));
  }

  /** How many objects were written, again and again. */
  get objects(): number {
    return this.#written.size;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#writers);
  }

  /**
   * Reads all back, by one list and one by one.
   *
   * @throws Error unless every object is there byte for byte as it was acknowledged last
   */
  async verify(): Promise<void> {
    const { collection } = this.#options;
    const { items } = await this.#client.list(collection);
    const listed = new Map(items.map((item) => [item.metadata.name, item]));
    for (const [name, written] of this.#written) {
      check(name, written, listed.get(name));
      if (listed.has(name)) check(name, written, await this.#client.get(`${collection}/${name}`));
    }
  }

  async #write(writer: number): Promise<void> {
    const { name: prefix, make } = this.#options;
    for (let count = 0; !this.#stopping; count++) {
      const name = `${prefix}-${writer}-${count % OBJECTS_PER_WRITER}`;
      const object = make(name);
      const written = this.#written.get(name) ?? { acknowledged: undefined, unknown: [] };
      this.#written.set(name, written);
      try {
        await this.#put(object, written);
        written.acknowledged = object;
        written.unknown = [];
        this.acknowledged++;
      } catch (error) {
        written.unknown.push(object);
        this.failures.push(error as Error);
        await sleep(PAUSE_MS);
      }
    }
  }

  async #put(object: KubeObject, { acknowledged, unknown }: Written): Promise<void> {
    const { collection } = this.#options;
    const path = `${collection}/${object.metadata.name}`;
    if (acknowledged) {
      await this.#client.replace(path, object);
      return;
    }
    try {
      await this.#client.create(collection, object);
    } catch (error) {
      // An earlier create that failed was made all the same.
      if (!(error instanceof ApiError && error.status === 409 && unknown.length > 0)) throw error;
      await this.#client.replace(path, object);
    }
  }
}

function check(name: string, { acknowledged, unknown }: Written, found: KubeObject | undefined): void {
  if (!found) {
    if (acknowledged) throw new Error(`${name} was acknowledged and is not there`);
    return;
  }
  const possible = acknowledged ? [acknowledged, ...unknown] : unknown;
  if (!possible.some(({ data }) => isDeepStrictEqual(data, found.data))) {
    throw new Error(`${name} was read back as something that was not written`);
  }
}
