import { hash } from 'node:crypto';

const WORDS = 4;
/** Entries per slot, at most. */
const LOAD = 0.7;

/**
 * A set of keys that needs 23 to 46 bytes for each, so that a million fit into 32 MB. It holds the first 128 bits of each key's SHA-256:
 * nobody can choose two keys that collide.
 */
export class SeenKeys {
  #slots = new Uint32Array(WORDS * 1024);
  #size = 0;

  /** Returns whether the key is new. */
  add(key: Buffer): boolean {
    if (this.#size >= (LOAD * this.#slots.length) / WORDS) this.#grow();
    const digest = hash('sha256', key, 'buffer');
    const words = [0, 4, 8, 12].map((at) => digest.readUInt32LE(at)) as [number, number, number, number];
    const added = insert(this.#slots, words);
    if (added) this.#size++;
    return added;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(2 * before.length);
    for (let at = 0; at < before.length; at += WORDS) {
      const words = [before[at]!, before[at + 1]!, before[at + 2]!, before[at + 3]!] as const;
      if (words.some((word) => word !== 0)) insert(this.#slots, words);
    }
  }
}

/** Linear probing. A slot of zeros is free: 1 of 2^128 digests is all zeros. */
function insert(slots: Uint32Array, [a, b, c, d]: readonly [number, number, number, number]): boolean {
  const mask = slots.length / WORDS - 1;
  for (let slot = a & mask; ; slot = (slot + 1) & mask) {
    const at = slot * WORDS;
    const [w, x, y, z] = [slots[at], slots[at + 1], slots[at + 2], slots[at + 3]];
    if (w === a && x === b && y === c && z === d) return false;
    if (w === 0 && x === 0 && y === 0 && z === 0) {
      slots.set([a, b, c, d], at);
      return true;
    }
  }
}
