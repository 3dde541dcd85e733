import type { RepliesAbout, Reply, Request } from '../protocol.ts';
import type { Done } from './worker.ts';

export interface DispatcherOptions {
  readonly run: (requests: readonly Request[]) => Promise<Done>;
  /** Gets the replies that are there at the end of a turn of the event loop, or that were gathered while all threads are busy. */
  readonly onReplies: (replies: readonly Reply[], about: RepliesAbout) => void;
}

/** A thread is given what it can do in about so many ms: a fast token must not wait for messages between threads. */
const BATCH_MS = 1;
const MAX_BATCH = 32;
/** ms for which replies are gathered while more requests wait here: their threads need no answer to go on. */
const GATHER_MS = 1;

/** Gives requests to threads that are free, and gathers what they answer. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #queue: Request[] = [];
  #threads = 0;
  #free = 0;
  /** ms that one operation takes, as a running mean. */
  #meanMs = BATCH_MS;
  #replies: Reply[] = [];
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
      this.#free--;
      void this.#give(this.#queue.splice(0, size));
    }
  }

  async #give(requests: Request[]): Promise<void> {
    try {
      const { replies, tookMs, sessionsOpened } = await this.#options.run(requests);
      this.#meanMs += (tookMs / requests.length - this.#meanMs) / 8;
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
    const replies = this.#replies;
    this.#replies = [];
    this.#options.onReplies(replies, { sessionsOpened: this.#sessionsOpened, meanMs: this.#meanMs });
    this.#sessionsOpened = 0;
  }
}
