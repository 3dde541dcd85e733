/** Failures in a row, over all sessions, after which only a new process is tried: some libraries never reconnect. */
const HOPELESS_AFTER = 5;

/** Tells when a module is beyond hope: it fails again and again, and does not work for anybody who uses it. */
export class FailureStreak {
  readonly #content = new Set<object>();
  readonly #forgotten = new WeakSet();
  #failures = 0;

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

  get hopeless(): boolean {
    return this.#failures >= HOPELESS_AFTER && this.#content.size === 0;
  }
}
