import { isDeepStrictEqual } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiClient, KubeObject } from './api-client.ts';

/** ms that a writer waits after a failure, so as not to spin while a server is down. */
const PAUSE_MS = 50;

/** Creates objects as fast as it can, and remembers which of them the server acknowledged. */
export class WriteLoad {
  readonly acknowledged = new Map<string, KubeObject>();
  readonly failures: Error[] = [];
  /** A write that failed may have been made all the same, when the server died before it answered. */
  readonly #unknown = new Map<string, KubeObject>();
  readonly #client: ApiClient;
  readonly #collection: string;
  readonly #make: (name: string) => KubeObject;
  readonly #prefix: string;
  readonly #writers: Promise<void>[];
  #stopping = false;
  #count = 0;

  /** @param make - an object by its name, with its content in `data` */
  constructor(client: ApiClient, collection: string, prefix: string, make: (name: string) => KubeObject, width = 4) {
    this.#client = client;
    this.#collection = collection;
    this.#prefix = prefix;
    this.#make = make;
    this.#writers = Array.from({ length: width }, () => this.#write());
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#writers);
  }

  /**
   * Reads all back, by one list and one by one.
   *
   * @throws Error unless every acknowledged object is there byte for byte, and no other is garbled
   */
  async verify(): Promise<void> {
    const listed = new Map(
      (await this.#client.list(this.#collection)).items.map((item) => [item.metadata.name, item] as const),
    );
    for (const [name, object] of this.#unknown) {
      const found = listed.get(name);
      if (found) mustEqual(found, object);
    }
    for (const [name, object] of this.acknowledged) {
      const found = listed.get(name);
      if (!found) throw new Error(`${name} was acknowledged and is not in the list`);
      mustEqual(found, object);
      mustEqual(await this.#client.get(`${this.#collection}/${name}`), object);
    }
  }

  async #write(): Promise<void> {
    while (!this.#stopping) {
      const name = `${this.#prefix}-${this.#count++}`;
      const object = this.#make(name);
      try {
        await this.#client.create(this.#collection, object);
        this.acknowledged.set(name, object);
      } catch (error) {
        this.failures.push(error as Error);
        this.#unknown.set(name, object);
        await sleep(PAUSE_MS);
      }
    }
  }
}

function mustEqual(found: KubeObject, written: KubeObject): void {
  if (!isDeepStrictEqual(found.data, written.data)) {
    throw new Error(`${written.metadata.name} was read back as something else`);
  }
}
