import type { OperationName, RepliesAbout, Reply, Request } from '../protocol.ts';
import type { Done } from './worker.ts';

export interface DispatcherOptions {
  readonly run: (requests: readonly Request[]) => Promise<Done>;
  /** Gets the replies that are there at the end of a turn of the event loop, or that were gathered while all threads are busy. */
  readonly onReplies: (replies: readonly Reply[], about: RepliesAbout) => void;
}

/** A thread is given what it can do in about so many ms: a fast token must not wait for messages between threads. */
const BATCH_MS = 1;
const MAX_BATCH = 32;
/** What may take much longer than a call usually does: it would keep the answers of others with it. */
const ALONE: ReadonlySet<OperationName> = new Set(['login', 'generate']);
/** ms for which replies are gathered while more requests wait here: their threads need no answer to go on. */
const GATHER_MS = 1;

/** Gives requests to threads that are free, and gathers what they answer. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #queue: Request[] = [];
  #threads = 0;
  #free = 0;
  /** ms that one operation takes, whatever it is, as a running mean. */
  #meanMs = BATCH_MS;
  /** See {@link RepliesAbout}. */
  #keyMs: number | undefined;
  #replies: Reply[] = [];
  #putBack: number[] = [];
  #sessionsOpened = 0;
  #gathering: NodeJS.Timeout | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** There is one thread more. */
  addThread(): void {
    this.#threads++;
    this.#free++;
    this.#dispatch();
  }

  add(requests: readonly Request[]): void {
    this.#queue.push(...requests);
    this.#dispatch();
  }

  #dispatch(): void {
    while (this.#free > 0 && this.#queue.length > 0) {
      const share = Math.ceil(this.#queue.length / this.#free);
      const size = Math.max(1, Math.min(share, MAX_BATCH, Math.floor(BATCH_MS / this.#meanMs)));
      const alone = this.#queue.slice(0, size).findIndex(({ ask }) => ALONE.has(ask.op));
      this.#free--;
      void this.#give(this.#queue.splice(0, alone < 0 ? size : Math.max(1, alone)));
    }
  }

  async #give(requests: Request[]): Promise<void> {
    try {
      const { replies, tookMs, keyMs, sessionsOpened } = await this.#options.run(requests);
      this.#meanMs = towards(this.#meanMs, tookMs / replies.length);
      for (const ms of keyMs) this.#keyMs = towards(this.#keyMs ?? ms, ms);
      const left = requests.slice(replies.length);
      if (left.length > 0) this.#takeBack(left);
      this.#answer(replies, sessionsOpened);
    } catch (error) {
      const failure = { kind: 'unavailable', message: (error as Error).message } as const;
      this.#answer(
        requests.map(({ id }) => ({ id, failure })),
        0,
      );
    }
    this.#free++;
    this.#dispatch();
  }

  /** In the order in which they came: the plugin goes by it when it looks for calls that hang. */
  #takeBack(left: readonly Request[]): void {
    this.#queue.push(...left);
    this.#queue.sort((one, other) => one.id - other.id);
    this.#putBack.push(...left.map(({ id }) => id));
  }

  #answer(replies: readonly Reply[], sessionsOpened: number): void {
    this.#replies.push(...replies);
    this.#sessionsOpened += sessionsOpened;
    this.#gathering ??= setTimeout(() => this.#flush(), GATHER_MS);
    setImmediate(() => {
      if (this.#queue.length === 0 || this.#replies.length >= this.#threads / 2) this.#flush();
    });
  }

  #flush(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    if (this.#replies.length === 0) return;
    const [replies, putBack, sessionsOpened] = [this.#replies, this.#putBack, this.#sessionsOpened];
    this.#replies = [];
    this.#putBack = [];
    this.#sessionsOpened = 0;
    this.#options.onReplies(replies, { sessionsOpened, keyMs: this.#keyMs, putBack });
  }
}

const towards = (mean: number, ms: number): number => mean + (ms - mean) / 8;
