import { createCipheriv, randomBytes } from 'node:crypto';

/** Encrypts as barbican-kms-plugin does (AES-CBC, PKCS#7, the IV in front), to the documented format. */
export function legacyCiphertext(key: Buffer, plaintext: Buffer, iv = randomBytes(16)): Buffer {
  const cipher = createCipheriv(`aes-${String(key.length * 8)}-cbc`, key, iv);
  return Buffer.concat([iv, cipher.update(plaintext), cipher.final()]);
}
