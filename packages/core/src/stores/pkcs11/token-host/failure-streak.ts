/** Failures in a row, over all sessions, after which only a new process is tried: some libraries never reconnect. */
const HOPELESS_AFTER = 5;
/** ms that a process has at least: those whose token works need a while to log in, and a younger one cures nothing. */
const YOUNG_MS = 5_000;

/** Tells when a module is beyond hope: it fails again and again, and does not work for anybody who uses it. */
export class FailureStreak {
  readonly #content = new Set<object>();
  readonly #forgotten = new WeakSet();
  readonly #bornAt: number;
  #failures = 0;

  /** @param bornAt - of its process, as `performance.now()` gives it */
  constructor(bornAt: number) {
    this.#bornAt = bornAt;
  }

  /** @param owner - whose call it was */
  note(owner: object, good: boolean): void {
    this.#failures = good ? 0 : this.#failures + 1;
    if (good && !this.#forgotten.has(owner)) this.#content.add(owner);
    else this.#content.delete(owner);
  }

  /** One who does not come again: that it worked for them says nothing any more. */
  forget(owner: object): void {
    this.#forgotten.add(owner);
    this.#content.delete(owner);
  }

  hopelessAt(now: number): boolean {
    return this.#failures >= HOPELESS_AFTER && this.#content.size === 0 && now - this.#bornAt > YOUNG_MS;
  }
}
