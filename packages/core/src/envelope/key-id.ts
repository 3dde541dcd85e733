import { randomBytes } from 'node:crypto';
import { MAX_KEY_ID_BYTES } from './limits.ts';

const KEY_ID = new RegExp(`^[a-z0-9](?:[a-z0-9.-]{0,${MAX_KEY_ID_BYTES - 2}}[a-z0-9])?$`);
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** Whether `id` is 1–64 of a–z, 0–9, '.' and '-', with a letter or digit at both ends: safe in file names, labels and logs. */
export function isKeyId(id: string): boolean {
  return KEY_ID.test(id);
}

/** A new key id: 128 random bits in base32 (RFC 4648, lower case, no padding), 26 characters. Never derived from a key (design D2). */
export function newKeyId(): string {
  let bits = 0;
  let value = 0;
  let id = '';
  for (const byte of randomBytes(16)) {
    value = ((value << 8) | byte) & 0xfff;
    bits += 8;
    for (; bits >= 5; bits -= 5) id += BASE32[(value >> (bits - 5)) & 31]!;
  }
  return id + BASE32[(value << (5 - bits)) & 31]!;
}
