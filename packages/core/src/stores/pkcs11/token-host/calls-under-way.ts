import type { Ask } from './protocol.ts';

export interface CallOptions {
  /** Owners take turns. */
  readonly owner: object;
  readonly signal: AbortSignal;
  /** ms after which this call counts as hung, where that is not the usual time. */
  readonly timeoutMs?: number | undefined;
}

export interface Call extends CallOptions {
  readonly ask: Ask;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  /** When it was first seen among those that have a thread. */
  since?: number;
}

/** The calls that a process has and has not answered, oldest first. */
export class CallsUnderWay {
  readonly #calls = new Map<number, Call>();
  /** Those that were overdue at the last look. */
  #overdue: readonly Call[] = [];

  get size(): number {
    return this.#calls.size;
  }

  get hasLogin(): boolean {
    return [...this.#calls.values()].some(({ ask }) => ask.op === 'login');
  }

  values(): Iterable<Call> {
    return this.#calls.values();
  }

  add(id: number, call: Call): void {
    this.#calls.set(id, call);
  }

  take(id: number): Call | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  clear(): void {
    this.#calls.clear();
  }

  /**
   * Returns the calls that are overdue at two looks in a row. After a pause of the whole machine the first look finds calls overdue
   * whose answers wait in the pipe; they arrive before the second.
   * @param threads - of the process. They take calls in order, so the others wait
   * @param timeoutMs - of a call that has no time of its own
   */
  hung(threads: number, now: number, timeoutMs: number): readonly Call[] {
    const before = this.#overdue;
    const running = [...this.#calls.values()].slice(0, threads);
    this.#overdue = running.filter((call) => now - (call.since ??= now) > (call.timeoutMs ?? timeoutMs));
    return this.#overdue.filter((call) => before.includes(call));
  }
}
