/** Lengths in bits of the 256 codes of RFC 7541 appendix B. The code is canonical, so the lengths define it. */
// prettier-ignore
const LENGTHS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/** EOS, whose code must not occur: 30 bits, all ones. */
const EOS = 256;
const EOS_LENGTH = 30;

/*
 * The decoder reads four bits at a time. Entry [state * 16 + nibble] holds the next state, and a symbol when one is complete:
 * the shortest code has five bits, so a nibble completes one at most.
 */
const SYMBOL_SHIFT = 9;
const EMITS = 1 << 18;
const FAILS = 1 << 19;
const STATE_MASK = 0x1ff;
const TABLE = new Int32Array(256 * 16);
/** States in which a string may end: fewer than eight bits since the last symbol, all ones. */
const MAY_END = new Uint8Array(256);

build();

function build(): void {
  // The code as a binary tree: children[2 * node + bit] is a node, or a symbol when it is negative (-1 - symbol).
  const children: number[] = [0, 0];
  const symbols = [...LENGTHS.map((length, symbol) => [length, symbol] as const), [EOS_LENGTH, EOS] as const];
  symbols.sort(([a, x], [b, y]) => a - b || x - y);
  let code = 0;
  let lengthBefore = symbols[0]![0];
  for (const [length, symbol] of symbols) {
    code <<= length - lengthBefore;
    lengthBefore = length;
    let node = 0;
    for (let bit = length - 1; bit > 0; bit--) {
      const at = 2 * node + ((code >>> bit) & 1);
      if (children[at] === 0) {
        children[at] = children.length / 2;
        children.push(0, 0);
      }
      node = children[at]!;
    }
    children[2 * node + (code & 1)] = -1 - symbol;
    code++;
  }
  for (let state = 0; state < 256; state++) {
    for (let nibble = 0; nibble < 16; nibble++) TABLE[state * 16 + nibble] = step(children, state, nibble);
  }
  for (let node = 0, depth = 0; depth < 8; node = children[2 * node + 1]!, depth++) MAY_END[node] = 1;
}

function step(children: readonly number[], state: number, nibble: number): number {
  let node = state;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[2 * node + ((nibble >>> bit) & 1)]!;
    if (next === -1 - EOS) return FAILS;
    if (next < 0) emitted = EMITS | ((-1 - next) << SYMBOL_SHIFT);
    node = Math.max(0, next);
  }
  return emitted | node;
}

/**
 * Decodes a Huffman-coded string (RFC 7541 §5.2) into `out`, from `length` on; 8/5 of the input must fit.
 * @returns where the string ends in `out`, or -1 for padding that is too long or not all ones, and for EOS
 */
export function decodeHuffman(bytes: Buffer, start: number, end: number, out: Buffer, length: number): number {
  let state = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    for (let shift = 4; shift >= 0; shift -= 4) {
      const nibble = (byte >>> shift) & 15;
      const entry = TABLE[state * 16 + nibble]!;
      if (entry & FAILS) return -1;
      if (entry & EMITS) out[length++] = (entry >>> SYMBOL_SHIFT) & 0xff;
      state = entry & STATE_MASK;
    }
  }
  return MAY_END[state] === 1 ? length : -1;
}
