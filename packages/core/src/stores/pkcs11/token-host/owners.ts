import type { Clock } from '../../../util/clock.ts';
import { kindOf } from './protocol.ts';
import type { Ask, FailureKind } from './protocol.ts';

const FAILURES_OF_THE_MODULE: ReadonlySet<FailureKind> = new Set(['unavailable', 'ambiguous', 'not-begun']);
/** Failures in all after which only a new process may help: some modules never reconnect to their token. */
const ENOUGH_FAILURES = 5;
/** ms without a hang after which the waits of an owner begin anew. */
const FORGIVEN_AFTER_MS = 60_000;
/** ms without a success of anybody after which failures make a success of before doubtful. */
const DOUBTFUL_AFTER_MS = 1_000;

interface Hanging {
  readonly times: number;
  /** The owner's calls are refused until then. */
  readonly until: number;
}

export interface OwnersOptions {
  readonly clock: Clock;
  /** Returns ms that an owner waits whose calls have hung so many times. */
  readonly backOff: (times: number) => number;
  /** Asks the process on behalf of an owner. How that ends must be noted like any other call. */
  readonly ask: (owner: object, ask: Ask<'key'>) => Promise<unknown>;
}

/** How the calls of each owner end, to tell a broken module from an owner whose own token or key fails (design D10). */
export class Owners {
  readonly #options: OwnersOptions;
  /** Failures in a row. */
  readonly #failures = new Map<object, number>();
  readonly #hanging = new WeakMap<object, Hanging>();
  readonly #gone = new WeakSet();
  /** What an owner can be asked that has used a key: the test of that key's mechanism. */
  readonly #tests = new WeakMap<object, Ask<'key'>>();
  /** Failures in a row, of all owners together, and when a call last succeeded. */
  #failuresOfAll = 0;
  #succeededAt = 0;
  #testing = false;

  constructor(options: OwnersOptions) {
    this.#options = options;
  }

  /**
   * Notes how a call ended.
   * @returns whether only a new process may help: the last call of each owner failed, and enough calls failed in all
   */
  answered(owner: object, ask: Ask, failure: FailureKind | undefined): boolean {
    const { op } = ask;
    // Wrong bytes look ambiguous too, and before a login the token is not asked.
    if ((failure === 'ambiguous' && op === 'unwrap') || failure === 'no-login') return false;
    const failed = failure !== undefined && FAILURES_OF_THE_MODULE.has(failure);
    // tpm2-pkcs11 goes on finding tokens and keys when its TPM is gone.
    if (!failed && ['token', 'list', 'login'].includes(op)) return false;
    this.#note(owner, failed);
    const test = failure === undefined && testOf(ask);
    if (test) this.#tests.set(owner, test);
    if (failed) this.#testOneThatWasContent();
    const counts = [...this.#failures.values()];
    return !counts.includes(0) && counts.reduce((sum, count) => sum + count, 0) >= ENOUGH_FAILURES;
  }

  #note(owner: object, failed: boolean): void {
    if (!failed) this.#succeededAt = this.#options.clock.now();
    this.#failuresOfAll = failed ? this.#failuresOfAll + 1 : 0;
    if (!this.#gone.has(owner)) this.#failures.set(owner, failed ? (this.#failures.get(owner) ?? 0) + 1 : 0);
  }

  /**
   * Only failures for a while, and an idle owner that was content before them: it would keep a broken process in use until
   * it makes a call itself. One owner is asked at a time, since one for which the module works is enough.
   */
  #testOneThatWasContent(): void {
    const { clock, ask } = this.#options;
    const isRecent = clock.now() - this.#succeededAt < DOUBTFUL_AFTER_MS;
    if (this.#testing || isRecent || this.#failuresOfAll < ENOUGH_FAILURES) return;
    const owner = [...this.#failures.keys()].find((one) => this.#failures.get(one) === 0);
    if (!owner) return;
    const test = this.#tests.get(owner);
    // Its key is gone or was never used: nothing shows that the module still works for it.
    if (!test) return void this.#failures.delete(owner);
    this.#testing = true;
    const tested = () => {
      this.#testing = false;
    };
    ask(owner, test).then(tested, (error: unknown) => {
      // The process lost its login, so it has to show again that it works for this owner.
      if (kindOf(error) === 'no-login') this.#failures.delete(owner);
      tested();
      // If nobody noted how it ended, as when the host closes, the same owner would be asked again without end.
      if (this.#failures.get(owner) !== 0) this.#testOneThatWasContent();
    });
  }

  /**
   * Notes that calls hang. The oldest may keep the others waiting inside the module, so only its owner has to wait.
   * @param owners - of the calls, that of the oldest first
   * @returns whether the module works for another owner; if not, no owner waits
   */
  hang([first, ...others]: readonly object[]): boolean {
    for (const owner of [first!, ...others]) this.#note(owner, true);
    if (![...this.#failures.values()].includes(0)) return false;
    const now = this.#options.clock.now();
    const last = this.#hanging.get(first!);
    const times = last && now - last.until < FORGIVEN_AFTER_MS ? last.times + 1 : 1;
    this.#hanging.set(first!, { times, until: now + this.#options.backOff(times) });
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
    this.#failuresOfAll = 0;
  }
}

/** The test of the key and the mechanism that a call has used. It holds no secret. */
function testOf(ask: Ask): Ask<'key'> | undefined {
  if (ask.op === 'key') return ask;
  if (ask.op !== 'wrap' && ask.op !== 'unwrap') return undefined;
  const { token, label, keyId, mechanism } = ask;
  return { op: 'key', token, label, keyId, ...(ask.type && { type: ask.type }), mechanisms: [mechanism] };
}
