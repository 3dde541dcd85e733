import { hash, randomBytes } from 'node:crypto';

const WORDS = 2;
/** Entries per slot, at most. */
const LOAD = 0.7;

/**
 * A set of keys that needs 11 to 23 bytes for each, so that a million fit into 16 MB. It holds 64 bits of a hash of each key. The hash
 * depends on a secret of this set, so nobody can choose keys that collide. By chance, two of a million keys do in one scan of 37 million.
 */
export class SeenKeys {
  readonly #secret = randomBytes(32);
  #slots = new Uint32Array(WORDS * 1024);
  #size = 0;

  /** Returns whether the key is new. */
  add(key: Buffer): boolean {
    if (this.#size >= (LOAD * this.#slots.length) / WORDS) this.#grow();
    // As a string: a million small buffers would wait for the garbage collector.
    const digest = hash('sha256', Buffer.concat([this.#secret, key]), 'binary');
    const added = insert(this.#slots, wordAt(digest, 0), wordAt(digest, 4));
    if (added) this.#size++;
    return added;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(2 * before.length);
    for (let at = 0; at < before.length; at += WORDS) {
      const [a, b] = [before[at]!, before[at + 1]!];
      if (a !== 0 || b !== 0) insert(this.#slots, a, b);
    }
  }
}

/** 32 bits of a string of bytes. */
function wordAt(bytes: string, at: number): number {
  let word = 0;
  for (let index = at; index < at + 4; index++) word = (word << 8) | bytes.charCodeAt(index);
  return word >>> 0;
}

/** Linear probing. A slot of zeros is free. */
function insert(slots: Uint32Array, a: number, b: number): boolean {
  const mask = slots.length / WORDS - 1;
  for (let slot = a & mask; ; slot = (slot + 1) & mask) {
    const at = slot * WORDS;
    const [x, y] = [slots[at], slots[at + 1]];
    if (x === a && y === b) return false;
    if (x === 0 && y === 0) {
      slots[at] = a;
      slots[at + 1] = b;
      return true;
    }
  }
}
