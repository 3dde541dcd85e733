import { randomFillSync } from 'node:crypto';
import { NONCE_BYTES } from './limits.ts';

/** Random bytes for 256 nonces. One call to the CSPRNG per nonce would double the cost of a seal. */
const pool = Buffer.alloc(256 * NONCE_BYTES);
let next = pool.length;

/** Copies 24 fresh random bytes to `out` at `offset`. No nonce is used twice. */
export function takeNonce(out: Buffer, offset: number): void {
  if (next === pool.length) {
    randomFillSync(pool);
    next = 0;
  }
  pool.copy(out, offset, next, next + NONCE_BYTES);
  next += NONCE_BYTES;
}
