/** Messages up to a quarter of an arena share it; it is so small because one message that stays keeps all of it. */
const ARENA_BYTES = 16 * 1024;

/**
 * Copies of request messages. Most are answered before the next one is taken, and then their place is used again. What stays lies close
 * together: Node's own pool would let 32 KiB of released messages lie between two that stay, and keep them all.
 */
export class MessageArena {
  #bytes = Buffer.allocUnsafeSlow(ARENA_BYTES);
  #at = 0;

  /** A copy of `bytes[start..end)`. */
  copy(bytes: Buffer, start: number, end: number): Buffer {
    const length = end - start;
    const alone = length > ARENA_BYTES / 4;
    if (!alone && length > ARENA_BYTES - this.#at) {
      this.#bytes = Buffer.allocUnsafeSlow(ARENA_BYTES);
      this.#at = 0;
    }
    const copy = alone ? Buffer.allocUnsafeSlow(length) : this.#bytes.subarray(this.#at, (this.#at += length));
    bytes.copy(copy, 0, start, end);
    return copy;
  }

  /**
   * Wipes a copy whose handler has answered at once, or was never called, and uses its place again. A handler that answered
   * later may have left work behind that still looks at its copy: that one is only wiped, so that nobody sees another call's bytes.
   */
  release(copy: Buffer): void {
    copy.fill(0);
    const isNewest = copy.buffer === this.#bytes.buffer && copy.byteOffset + copy.length === this.#at;
    if (isNewest) this.#at -= copy.length;
  }
}
