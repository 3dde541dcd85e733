import { createCipheriv, createDecipheriv, randomBytes, randomFillSync } from 'node:crypto';

/** The base of all comparisons: AES-256-GCM of node:crypto with one key and nothing else. */
const key = randomBytes(32);
const associatedData = randomBytes(60);
const NONCE = 12;
const TAG = 16;

const nonces = Buffer.alloc(256 * NONCE);
let next = nonces.length;

/** Seals with the optimisations that a profile suggests: nonces are fetched in batches, and the result is one buffer. */
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

/** Seals the way most programs do. */
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
