/** A queue in which owners take turns: an owner with many items does not keep the others waiting. */
export class FairQueue<T> {
  readonly #lanes = new Map<object, T[]>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(owner: object, item: T): void {
    const lane = this.#lanes.get(owner);
    if (lane) lane.push(item);
    else this.#lanes.set(owner, [item]);
    this.#length++;
  }

  /** Removes the next item. Its owner goes to the end of the line. */
  shift(): T | undefined {
    const next = this.#lanes.entries().next();
    if (next.done) return undefined;
    const [owner, lane] = next.value;
    const item = lane.shift();
    this.#lanes.delete(owner);
    if (lane.length > 0) this.#lanes.set(owner, lane);
    this.#length--;
    return item;
  }

  /** Removes all items. */
  drain(): T[] {
    const all = [...this.#lanes.values()].flat();
    this.#lanes.clear();
    this.#length = 0;
    return all;
  }
}
