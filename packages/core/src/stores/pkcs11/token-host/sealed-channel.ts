import { randomBytes } from 'node:crypto';
import { KEY_BYTES, NONCE_BYTES, TAG_BYTES } from '../../../envelope/limits.ts';
import { takeNonce } from '../../../envelope/nonces.ts';
import { XaesKey } from '../../../envelope/xaes.ts';
import { unavailable } from '../../../errors.ts';
import { SecretBytes } from '../../../util/secret-bytes.ts';
import type { Sealed } from './protocol.ts';

const NO_DATA = Buffer.alloc(0);

export const newChannelKey = (): SecretBytes => new SecretBytes(randomBytes(KEY_BYTES));

/**
 * Seals PINs and local KEKs for the pipe between plugin and token host, whose buffers nobody can wipe (ADR 0008).
 * Both ends have the same key.
 */
export class SealedChannel {
  readonly #key: XaesKey;

  /** Copies `key`, 32 bytes. */
  constructor(key: SecretBytes) {
    this.#key = new XaesKey(new SecretBytes(Buffer.from(key.expose())));
  }

  /**
   * Returns nonce ‖ ciphertext ‖ tag. `secret` stays the caller's.
   * @param about - what the secret belongs to: it opens with nothing else
   */
  seal(secret: SecretBytes, about: Buffer = NO_DATA): Sealed {
    const sealed = Buffer.alloc(NONCE_BYTES + secret.length + TAG_BYTES);
    takeNonce(sealed, 0);
    this.#key.seal(sealed.subarray(0, NONCE_BYTES), secret.expose(), about, sealed, NONCE_BYTES);
    return sealed;
  }

  /**
   * Returns what the other end has sealed; the caller wipes it.
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for any other bytes
   */
  open(sealed: Uint8Array, about: Buffer = NO_DATA): SecretBytes {
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    const long = bytes.length >= NONCE_BYTES + TAG_BYTES;
    const secret = long && this.#key.open(bytes.subarray(0, NONCE_BYTES), bytes.subarray(NONCE_BYTES), about);
    if (!secret) throw unavailable('the pipe to the token host carries bytes that its other end has not sealed');
    return new SecretBytes(secret);
  }

  destroy(): void {
    this.#key.destroy();
  }
}
