/** Failures in all after which only a new process may help: some modules never reconnect to their token. */
const ENOUGH = 5;

/** Counts failures in a row by owner, to tell a broken process from an owner whose own token or key fails. */
export class FailingOwners {
  readonly #failures = new Map<object, number>();
  readonly #gone = new WeakSet();

  note(owner: object, failed: boolean): void {
    if (!this.#gone.has(owner)) this.#failures.set(owner, failed ? (this.#failures.get(owner) ?? 0) + 1 : 0);
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
  get all(): boolean {
    const counts = [...this.#failures.values()];
    return !counts.includes(0) && counts.reduce((sum, count) => sum + count, 0) >= ENOUGH;
  }
}
