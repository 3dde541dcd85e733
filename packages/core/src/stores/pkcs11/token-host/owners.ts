import { backOffMs } from '../../../util/back-off.ts';
import type { BackOff } from '../../../util/back-off.ts';
import type { Clock } from '../../../util/clock.ts';

/** Failures in all after which only a new process may help: some modules never reconnect to their token. */
const ENOUGH_FAILURES = 5;

interface Hanging {
  readonly times: number;
  /** The owner's calls are refused until then. */
  readonly until: number;
}

export interface OwnersOptions {
  readonly clock: Clock;
  /** How long an owner waits whose calls hang again and again. */
  readonly backOff: BackOff;
  /** ms without a hang after which the waits begin anew. */
  readonly forgiveAfterMs: number;
  readonly random: (() => number) | undefined;
}

/** How the calls of each owner end, to tell a broken module from an owner whose own token or key fails (design D10). */
export class Owners {
  readonly #options: OwnersOptions;
  /** Failures in a row. */
  readonly #failures = new Map<object, number>();
  readonly #hanging = new WeakMap<object, Hanging>();
  readonly #gone = new WeakSet();

  constructor(options: OwnersOptions) {
    this.#options = options;
  }

  note(owner: object, failed: boolean): void {
    if (!this.#gone.has(owner)) this.#failures.set(owner, failed ? (this.#failures.get(owner) ?? 0) + 1 : 0);
  }

  /**
   * Notes that calls hang. The oldest may keep the others waiting inside the module, so only its owner has to wait.
   * @param owners - of the calls, that of the oldest first
   * @returns whether the module works for another owner; if not, nobody is told to wait
   */
  hang([first, ...others]: readonly object[]): boolean {
    for (const owner of [first!, ...others]) this.note(owner, true);
    if (![...this.#failures.values()].includes(0)) return false;
    const { clock, backOff, forgiveAfterMs, random } = this.#options;
    const now = clock.now();
    const last = this.#hanging.get(first!);
    const times = last && now - last.until < forgiveAfterMs ? last.times + 1 : 1;
    this.#hanging.set(first!, { times, until: now + backOffMs(times - 1, backOff, random) });
    return true;
  }

  /** Returns for how many ms an owner still has to wait; 0 or less for one that may call. */
  waitMs(owner: object): number {
    return (this.#hanging.get(owner)?.until ?? 0) - this.#options.clock.now();
  }

  /** Removes an owner that makes no more calls. */
  forget(owner: object): void {
    this.#gone.add(owner);
    this.#failures.delete(owner);
  }

  /** Starts anew, for a new process. */
  clear(): void {
    this.#failures.clear();
  }

  /** Whether the process works for nobody: the last call of each owner failed, and enough calls failed in all. */
  get allFail(): boolean {
    const counts = [...this.#failures.values()];
    return !counts.includes(0) && counts.reduce((sum, count) => sum + count, 0) >= ENOUGH_FAILURES;
  }
}
