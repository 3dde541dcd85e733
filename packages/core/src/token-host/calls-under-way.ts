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
    return sent;
  }

  get calls(): C[] {
    return [...this.#sent.values()].map(({ call }) => call);
  }

  takeAll(): C[] {
    const { calls } = this;
    this.#sent.clear();
    return calls;
  }

  /** Threads take calls in order: only so many of the oldest are under way, and the wait of the others is no hang. */
  startClocks(threads: number | undefined): void {
    const now = performance.now();
    for (const sent of [...this.#sent.values()].slice(0, threads)) {
      sent.deadline ??= now + (sent.call.timeoutMs ?? this.#callTimeoutMs);
    }
  }

  /** Whether one takes longer than it may. */
  get hung(): boolean {
    const now = performance.now();
    return [...this.#sent.values()].some(({ deadline }) => deadline !== undefined && deadline < now);
  }
}
