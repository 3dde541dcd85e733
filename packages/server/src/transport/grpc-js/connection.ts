import type { Socket } from 'node:net';

/** Calls of one connection that run at a time. Later calls wait. */
const MAX_RUNNING = 1_000;

/** Calls that may wait, over all connections of a transport. When a node restarts, 10,000 come at once. */
const MAX_WAITING = 20_000;

interface WaitingCall {
  /** Returns false for a call that was cancelled meanwhile. */
  readonly start: () => boolean;
  next: WaitingCall | undefined;
}

/** An accepted connection. Its calls start in the order in which they came, a bounded number at a time. */
export class Connection {
  readonly socket: Socket;
  /** Of all connections of the transport. */
  readonly #waiting: { calls: number };
  #running = 0;
  #first: WaitingCall | undefined;
  #last: WaitingCall | undefined;
  #starting = false;

  constructor(socket: Socket, waiting: { calls: number }) {
    this.socket = socket;
    this.#waiting = waiting;
  }

  /**
   * Starts a call, at once or when earlier calls have ended.
   * @param start - returns false for a call that was cancelled meanwhile; for any other {@link Connection.ended} must follow
   * @returns false, without a start, when too many calls wait
   */
  enter(start: () => boolean): boolean {
    if (this.#running >= MAX_RUNNING && this.#waiting.calls >= MAX_WAITING) return false;
    this.#waiting.calls++;
    const call = { start, next: undefined };
    if (this.#last) this.#last.next = call;
    else this.#first = call;
    this.#last = call;
    this.#startNext();
    return true;
  }

  ended(): void {
    this.#running--;
    this.#startNext();
  }

  /** A loop, since a call may end before `start` returns. */
  #startNext(): void {
    if (this.#starting) return;
    this.#starting = true;
    while (this.#first && this.#running < MAX_RUNNING) {
      const { start, next } = this.#first;
      this.#first = next;
      if (!next) this.#last = undefined;
      this.#waiting.calls--;
      this.#running++;
      if (!start()) this.#running--;
    }
    this.#starting = false;
  }
}
