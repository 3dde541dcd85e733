import { createCipheriv } from 'node:crypto';
import type { Cipheriv } from 'node:crypto';
import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import { HALF_NONCE, openMessage, sealMessage } from './gcm.ts';
import { KEY_BYTES, NONCE_BYTES } from './limits.ts';

/**
 * XAES-256-GCM (C2SP/XAES-256-GCM.md): AES-256-GCM with a key per message, derived from the first 12 bytes of a 24-byte random nonce
 * (NIST SP 800-108r1 in counter mode with CMAC). Random nonces are safe for 2^80 messages.
 *
 * After construction, the 32-byte key exists only inside one AES-ECB cipher context, which {@link XaesKey.destroy} ends.
 */
export class XaesKey {
  readonly #cmac: Cipheriv;
  readonly #k1: Buffer;
  readonly #blocks = Buffer.alloc(2 * 16);
  #destroyed = false;

  /**
   * Takes over `key` (32 bytes) and wipes it.
   * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` for another length
   */
  constructor(key: SecretBytes) {
    if (key.length !== KEY_BYTES) {
      key.wipe();
      throw new KmsError('ERR_KMS_KEYSET_INVALID', `expected a key of ${KEY_BYTES} bytes, found ${key.length}`);
    }
    this.#cmac = createCipheriv('aes-256-ecb', key.expose(), null).setAutoPadding(false);
    key.wipe();
    this.#k1 = this.#cmac.update(Buffer.alloc(16));
    doubleInGf128(this.#k1);
  }

  /**
   * Writes ciphertext ‖ tag (`plaintext.length` + 16 bytes) to `out` at `offset`.
   * @param nonce - 24 random bytes, never used before
   */
  seal(nonce: Buffer, plaintext: Uint8Array, associatedData: Buffer, out: Buffer, offset: number): void {
    const gcmNonce = nonce.subarray(HALF_NONCE, NONCE_BYTES);
    sealMessage(this.messageKey(nonce), gcmNonce, plaintext, associatedData, out, offset);
  }

  /**
   * Returns the plaintext of `sealed` (ciphertext ‖ tag), which the caller owns; `undefined` if the tag is wrong.
   */
  open(nonce: Buffer, sealed: Buffer, associatedData: Buffer): Buffer | undefined {
    return openMessage(this.messageKey(nonce), nonce.subarray(HALF_NONCE, NONCE_BYTES), sealed, associatedData);
  }

  /** The message key for `nonce` (24 bytes). The caller wipes it. */
  messageKey(nonce: Buffer): Buffer {
    if (this.#destroyed) throw new KmsError('ERR_KMS_CLOSED', 'this key was destroyed');
    const blocks = this.#blocks;
    const k1 = this.#k1;
    for (let block = 0; block < 2; block++) {
      const at = 16 * block;
      blocks[at] = 0;
      blocks[at + 1] = block + 1;
      blocks[at + 2] = 0x58;
      blocks[at + 3] = 0;
      nonce.copy(blocks, at + 4, 0, HALF_NONCE);
      for (let i = 0; i < 16; i++) blocks[at + i]! ^= k1[i]!;
    }
    return this.#cmac.update(blocks);
  }

  /** Ends the cipher context, so that OpenSSL wipes its copy of the key. Garbage collection alone would not. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#cmac.final();
    this.#k1.fill(0);
    this.#blocks.fill(0);
  }
}

/** Doubling in GF(2^128) for CMAC's subkey K1 (NIST SP 800-38B §6.1), without a branch on key bits. */
function doubleInGf128(block: Buffer): void {
  const carry = block[0]! >> 7;
  for (let i = 0; i < 15; i++) block[i] = (block[i]! << 1) | (block[i + 1]! >> 7);
  block[15] = (block[15]! << 1) ^ (0x87 & -carry);
}
