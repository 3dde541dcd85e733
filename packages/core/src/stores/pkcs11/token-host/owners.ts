import type { Clock } from '../../../util/clock.ts';
import type { FailureKind, OperationName } from './protocol.ts';

const FAILURES_OF_THE_MODULE: ReadonlySet<FailureKind> = new Set(['unavailable', 'ambiguous', 'not-begun']);
/** Failures in all after which only a new process may help: some modules never reconnect to their token. */
const ENOUGH_FAILURES = 5;
/** ms without a hang after which the waits of an owner begin anew. */
const FORGIVEN_AFTER_MS = 60_000;

interface Hanging {
  readonly times: number;
  /** The owner's calls are refused until then. */
  readonly until: number;
}

/** How the calls of each owner end, to tell a broken module from an owner whose own token or key fails (design D10). */
export class Owners {
  readonly #clock: Clock;
  readonly #backOff: (times: number) => number;
  /** Failures in a row. */
  readonly #failures = new Map<object, number>();
  readonly #hanging = new WeakMap<object, Hanging>();
  readonly #gone = new WeakSet();

  /** @param backOff - ms that an owner waits whose calls have hung so many times */
  constructor(clock: Clock, backOff: (times: number) => number) {
    this.#clock = clock;
    this.#backOff = backOff;
  }

  /**
   * Notes how a call ended.
   * @returns whether only a new process may help: the last call of each owner failed, and enough calls failed in all
   */
  answered(owner: object, op: OperationName, failure: FailureKind | undefined): boolean {
    // Wrong bytes look ambiguous too, and before a login the token is not asked.
    if ((failure === 'ambiguous' && op === 'unwrap') || failure === 'no-login') return false;
    const failed = failure !== undefined && FAILURES_OF_THE_MODULE.has(failure);
    // tpm2-pkcs11 goes on finding tokens and keys when its TPM is gone.
    if (!failed && ['token', 'list', 'login'].includes(op)) return false;
    this.#note(owner, failed);
    const counts = [...this.#failures.values()];
    return !counts.includes(0) && counts.reduce((sum, count) => sum + count, 0) >= ENOUGH_FAILURES;
  }

  #note(owner: object, failed: boolean): void {
    if (!this.#gone.has(owner)) this.#failures.set(owner, failed ? (this.#failures.get(owner) ?? 0) + 1 : 0);
  }

  /**
   * Notes that calls hang. The oldest may keep the others waiting inside the module, so only its owner has to wait.
   * @param owners - of the calls, that of the oldest first
   * @returns whether the module works for another owner; if not, no owner waits
   */
  hang([first, ...others]: readonly object[]): boolean {
    for (const owner of [first!, ...others]) this.#note(owner, true);
    if (![...this.#failures.values()].includes(0)) return false;
    const now = this.#clock.now();
    const last = this.#hanging.get(first!);
    const times = last && now - last.until < FORGIVEN_AFTER_MS ? last.times + 1 : 1;
    this.#hanging.set(first!, { times, until: now + this.#backOff(times) });
    return true;
  }

  /** Returns for how many ms an owner still has to wait; 0 or less for one that may call. */
  waitMs(owner: object): number {
    return (this.#hanging.get(owner)?.until ?? 0) - this.#clock.now();
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
}
