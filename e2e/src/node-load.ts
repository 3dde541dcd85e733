import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ApiClient } from './api-client.ts';
import type { ControlPlaneNode } from './control-plane.ts';
import { secret, SECRETS } from './objects.ts';

/** Secrets of one node, which are written in turn. */
const OBJECTS = 40;
const PAUSE_MS = 100;
const EVENTS_OF_A_WATCH = 500;

/** Writes, lists and watches Secrets through one kube-apiserver. */
export class NodeLoad {
  /** What failed while kube-apiserver was not being restarted. */
  readonly failures: string[] = [];
  writes = 0;
  lists = 0;
  events = 0;
  duringRestarts = 0;
  readonly #node: ControlPlaneNode;
  /** What was acknowledged last, and what may have been written since then. */
  readonly #data = new Map<string, unknown[]>();
  readonly #running: Promise<void>;
  #stopping = false;

  constructor(node: ControlPlaneNode) {
    this.#node = node;
    const forever = async (what: string, work: () => Promise<void>): Promise<void> => {
      while (!this.#stopping) {
        await this.#attempt(what, work);
        await sleep(PAUSE_MS);
      }
    };
    let count = 0;
    this.#running = Promise.all([
      forever('write', () => this.#write(count++ % OBJECTS)),
      forever('list', () => this.#list()),
      forever('watch', () => this.#watch()),
    ]).then(() => undefined);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  /** @throws Error unless every Secret is read as it was written, through each of the clients */
  async verify(clients: readonly ApiClient[]): Promise<void> {
    for (const client of clients) {
      for (const [name, possible] of this.#data) {
        const { data } = await client.get(`${SECRETS}/${name}`);
        if (!possible.some((one) => isDeepStrictEqual(one, data))) throw new Error(`${name} is not what was written`);
      }
    }
  }

  /** A request counts as one during a restart if it began or ended in one. */
  async #attempt(what: string, work: () => Promise<void>): Promise<void> {
    const before = this.#node.down;
    try {
      await work();
    } catch (error) {
      // A watch of what nobody writes any more ends by the client's time limit.
      if (this.#stopping && what === 'watch') return;
      // A connection may be cut a moment before the kill is known here.
      await sleep(PAUSE_MS);
      if (before || this.#node.down) this.duringRestarts++;
      else this.failures.push(`${this.#node.name} ${what}: ${(error as Error).message}`);
    }
  }

  async #write(number: number): Promise<void> {
    const { client } = this.#node.apiserver;
    const name = `${this.#node.name}-${number}`;
    const object = secret(name);
    const known = this.#data.get(name);
    if (known) known.push(object.data);
    else this.#data.set(name, [object.data]);
    const patch = { data: object.data };
    await (known
      ? client.patch(`${SECRETS}/${name}`, patch).catch((error: unknown) => this.#createAfter(error, object))
      : client.create(SECRETS, object));
    this.#data.set(name, [object.data]);
    this.writes++;
  }

  /** A create that failed before may not have been made. */
  #createAfter(error: unknown, object: ReturnType<typeof secret>): Promise<unknown> {
    if ((error as { status?: number }).status !== 404) throw error;
    return this.#node.apiserver.client.create(SECRETS, object);
  }

  async #list(): Promise<void> {
    const { items } = await this.#node.apiserver.client.list(SECRETS);
    for (const { metadata, data } of items) {
      if (data === undefined) throw new Error(`${metadata.name} was listed without data`);
    }
    this.lists++;
  }

  /** Until it is cut, or has seen many events. */
  async #watch(): Promise<void> {
    const { client } = this.#node.apiserver;
    const { metadata } = await client.list(SECRETS);
    let seen = 0;
    for await (const { type, object } of client.watch(SECRETS, metadata.resourceVersion)) {
      if (type === 'ERROR') throw new Error(JSON.stringify(object));
      this.events++;
      if (this.#stopping || ++seen === EVENTS_OF_A_WATCH) return;
    }
    if (!this.#stopping) throw new Error('the watch ended');
  }
}
