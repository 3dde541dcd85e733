const DIGITS = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const PADDING = '='.charCodeAt(0);

/** Encodes in base64 (RFC 4648) as bytes. Node's own encoder makes strings, which cannot be wiped. */
export function base64(bytes: Buffer): Buffer {
  const out = Buffer.alloc(4 * Math.ceil(bytes.length / 3), PADDING);
  for (let from = 0, to = 0; from < bytes.length; from += 3, to += 4) {
    const [a = 0, b, c] = bytes.subarray(from, from + 3);
    out[to] = DIGITS[a >> 2]!;
    out[to + 1] = DIGITS[((a & 3) << 4) | ((b ?? 0) >> 4)]!;
    if (b !== undefined) out[to + 2] = DIGITS[((b & 15) << 2) | ((c ?? 0) >> 6)]!;
    if (c !== undefined) out[to + 3] = DIGITS[c & 63]!;
  }
  return out;
}
