/**
 * Bounds the bytes of requests and answers that connections hold: of one instance, or of the process. When there are too many, the
 * connection that holds the most is ended. It may belong to another tenant than the one whose bytes were the last.
 */
export class ByteBudget {
  readonly #limit: number;
  readonly #parent: ByteBudget | undefined;
  readonly #accounts = new Set<ByteAccount>();
  /** Bytes that are held now. */
  held = 0;

  /** @param parent - the budget of which this one is a part */
  constructor(limit: number, parent?: ByteBudget) {
    this.#limit = limit;
    this.#parent = parent;
  }

  open(account: ByteAccount): void {
    this.#accounts.add(account);
    this.#parent?.open(account);
  }

  close(account: ByteAccount): void {
    this.#accounts.delete(account);
    this.held -= account.bytes;
    this.#parent?.close(account);
  }

  add(bytes: number): void {
    this.held += bytes;
    this.#parent?.add(bytes);
    while (this.held > this.#limit && this.#accounts.size > 0) this.#endLargest();
  }

  #endLargest(): void {
    let largest: ByteAccount | undefined;
    for (const account of this.#accounts) if (account.bytes > (largest?.bytes ?? -1)) largest = account;
    largest?.end();
  }
}

/** What one connection holds. */
export class ByteAccount {
  readonly #budget: ByteBudget;
  readonly #end: () => void;
  #closed = false;
  bytes = 0;

  /** @param end - ends the connection, because it holds the most; may throw where that is the one at work */
  constructor(budget: ByteBudget, end: () => void) {
    this.#budget = budget;
    this.#end = end;
    budget.open(this);
  }

  /** @param bytes - negative for what is no longer held */
  hold(bytes: number): void {
    if (this.#closed || bytes === 0) return;
    this.bytes += bytes;
    this.#budget.add(bytes);
  }

  /** The connection has ended: what its handlers still have is theirs. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#budget.close(this);
  }

  end(): void {
    this.close();
    this.#end();
  }
}
