import type { OperationName } from './protocol.ts';

interface Timed {
  readonly timeoutMs?: number;
}

interface Sent<C> {
  readonly call: C;
  readonly op: OperationName;
  /** `undefined` while it may still wait for a thread. */
  deadline: number | undefined;
}

/** The calls that a process has and has not answered, oldest first, and since when each may be under way. */
export class CallsUnderWay<C extends Timed> {
  readonly #callTimeoutMs: number;
  readonly #sent = new Map<number, Sent<C>>();
  #nextId = 1;
  #seemedHung = false;

  /** @param callTimeoutMs - ms that a call may take which says nothing else */
  constructor(callTimeoutMs: number) {
    this.#callTimeoutMs = callTimeoutMs;
  }

  get size(): number {
    return this.#sent.size;
  }

  /** Returns the number under which its answer comes. */
  add(call: C, op: OperationName): number {
    const id = this.#nextId++;
    this.#sent.set(id, { call, op, deadline: undefined });
    return id;
  }

  /** The call that an answer belongs to, which is under way no more. */
  take(id: number): { readonly call: C; readonly op: OperationName } | undefined {
    const sent = this.#sent.get(id);
    this.#sent.delete(id);
    if (this.#sent.size === 0) this.#seemedHung = false;
    return sent;
  }

  /** Nobody has begun these after all. */
  putBack(ids: readonly number[]): void {
    for (const id of ids) {
      const sent = this.#sent.get(id);
      if (sent) sent.deadline = undefined;
    }
  }

  get calls(): C[] {
    return [...this.#sent.values()].map(({ call }) => call);
  }

  takeAll(): C[] {
    const { calls } = this;
    this.#sent.clear();
    this.#seemedHung = false;
    return calls;
  }

  /** Threads take calls in order: only so many of the oldest are under way, and the wait of the others is no hang. */
  startClocks(threads: number): void {
    const now = performance.now();
    let left = threads;
    for (const sent of this.#sent.values()) {
      if (left-- === 0) break;
      sent.deadline ??= now + (sent.call.timeoutMs ?? this.#callTimeoutMs);
    }
  }

  /**
   * Whether one takes longer than it may, and did at the last look: where its process stood still too, the answer will be
   * there in a moment.
   */
  hung(): boolean {
    const now = performance.now();
    const hung = [...this.#sent.values()].some(({ deadline }) => deadline !== undefined && deadline < now);
    const confirmed = hung && this.#seemedHung;
    this.#seemedHung = hung;
    return confirmed;
  }
}
