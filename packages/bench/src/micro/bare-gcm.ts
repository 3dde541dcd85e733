import { createCipheriv, createDecipheriv, randomBytes, randomFillSync } from 'node:crypto';

/** What everything here is measured against: AES-256-GCM of node:crypto with one key and nothing around it. */
const key = randomBytes(32);
const associatedData = randomBytes(60);
const NONCE = 12;
const TAG = 16;

const nonces = Buffer.alloc(256 * NONCE);
let next = nonces.length;

/** As it is written after a look at a profile: nonces fetched many at a time, one buffer for the result. */
export function sealBare(plaintext: Uint8Array): Buffer {
  if (next === nonces.length) {
    randomFillSync(nonces);
    next = 0;
  }
  const out = Buffer.allocUnsafe(NONCE + plaintext.length + TAG);
  nonces.copy(out, 0, next, next + NONCE);
  next += NONCE;
  const gcm = createCipheriv('aes-256-gcm', key, out.subarray(0, NONCE));
  gcm.setAAD(associatedData);
  gcm.update(plaintext).copy(out, NONCE);
  gcm.final();
  gcm.getAuthTag().copy(out, NONCE + plaintext.length);
  return out;
}

/** As it is usually written. */
export function sealNaive(plaintext: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE);
  const gcm = createCipheriv('aes-256-gcm', key, nonce).setAAD(associatedData);
  return Buffer.concat([nonce, gcm.update(plaintext), gcm.final(), gcm.getAuthTag()]);
}

export function openBare(sealed: Buffer): Buffer {
  const gcm = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE), { authTagLength: TAG });
  gcm.setAAD(associatedData);
  gcm.setAuthTag(sealed.subarray(sealed.length - TAG));
  const plaintext = gcm.update(sealed.subarray(NONCE, sealed.length - TAG));
  gcm.final();
  return plaintext;
}

export function openNaive(sealed: Buffer): Buffer {
  const gcm = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE)).setAAD(associatedData);
  gcm.setAuthTag(sealed.subarray(-TAG));
  return Buffer.concat([gcm.update(sealed.subarray(NONCE, -TAG)), gcm.final()]);
}
