interface Timed {
  /** ms after which this call counts as hung, where that is not the usual time. */
  readonly timeoutMs?: number | undefined;
}

interface Sent<C> {
  readonly call: C;
  /** When it was first seen among those that have a thread. */
  since: number | undefined;
}

/** The calls that a process has and has not answered, oldest first, and whether one of them hangs. */
export class CallsUnderWay<C extends Timed> {
  readonly #sent = new Map<number, Sent<C>>();
  readonly #threads: number;
  readonly #timeoutMs: number;
  #nextId = 1;
  #overdue = false;

  /**
   * @param threads - threads of the process; they take calls in order, so the others wait
   * @param timeoutMs - ms after which a call counts as hung
   */
  constructor(threads: number, timeoutMs: number) {
    this.#threads = threads;
    this.#timeoutMs = timeoutMs;
  }

  get size(): number {
    return this.#sent.size;
  }

  get calls(): C[] {
    return [...this.#sent.values()].map(({ call }) => call);
  }

  /** Returns the id under which the answer comes. */
  add(call: C): number {
    this.#sent.set(this.#nextId, { call, since: undefined });
    return this.#nextId++;
  }

  /** Removes an answered call. */
  take(id: number): C | undefined {
    const sent = this.#sent.get(id);
    this.#sent.delete(id);
    return sent?.call;
  }

  /** Removes all calls. */
  drain(): C[] {
    const { calls } = this;
    this.#sent.clear();
    this.#overdue = false;
    return calls;
  }

  /**
   * Looks at the calls, and returns whether one is overdue at two looks in a row. After a pause of the whole machine the
   * first look finds calls overdue whose answers wait in the pipe; they arrive before the second.
   */
  hung(now: number): boolean {
    const before = this.#overdue;
    this.#overdue = false;
    for (const sent of [...this.#sent.values()].slice(0, this.#threads)) {
      sent.since ??= now;
      if (now - sent.since > (sent.call.timeoutMs ?? this.#timeoutMs)) this.#overdue = true;
    }
    return before && this.#overdue;
  }
}
