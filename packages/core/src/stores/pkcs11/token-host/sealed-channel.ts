import { createPublicKey, diffieHellman, generateKeyPairSync, hkdfSync } from 'node:crypto';
import { NONCE_BYTES, TAG_BYTES } from '../../../envelope/limits.ts';
import { takeNonce } from '../../../envelope/nonces.ts';
import { XaesKey } from '../../../envelope/xaes.ts';
import { KmsError } from '../../../errors.ts';
import { SecretBytes } from '../../../util/secret-bytes.ts';
import type { Sealed } from './protocol.ts';

type End = 'plugin' | 'host';

/** One end's part of the agreement on a key: X25519 (RFC 7748), made for one token host and never stored. */
export class KeyAgreement {
  readonly #pair = generateKeyPairSync('x25519');
  /** What the other end is given, 44 bytes of SPKI. */
  readonly publicKey = this.#pair.publicKey.export({ type: 'spki', format: 'der' });

  /** The 32-byte key that both ends arrive at. */
  agree(otherPublicKey: Uint8Array): SecretBytes {
    const publicKey = createPublicKey({ key: Buffer.from(otherPublicKey), type: 'spki', format: 'der' });
    const secret = diffieHellman({ privateKey: this.#pair.privateKey, publicKey });
    const key = Buffer.from(hkdfSync('sha256', secret, '', 'teapot-kms token host', 32));
    secret.fill(0);
    return new SecretBytes(key);
  }
}

/**
 * Carries PINs and local KEKs over a pipe whose buffers nobody can wipe (design D8): only sealed bytes enter it, under
 * a key that both ends have made for this one child.
 */
export class SealedChannel {
  readonly #key: XaesKey;
  readonly #here: End;

  /** Takes `key` over and wipes it. */
  constructor(key: SecretBytes, here: End) {
    this.#key = new XaesKey(key);
    this.#here = here;
  }

  seal(secret: SecretBytes): Sealed {
    const sealed = Buffer.alloc(NONCE_BYTES + secret.length + TAG_BYTES);
    takeNonce(sealed, 0);
    this.#key.seal(sealed.subarray(0, NONCE_BYTES), secret.expose(), Buffer.from(this.#here), sealed, NONCE_BYTES);
    return sealed;
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for what the other end has not sealed */
  open(sealed: Uint8Array): SecretBytes {
    const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
    const sender = Buffer.from(this.#here === 'plugin' ? 'host' : 'plugin');
    const secret =
      bytes.length >= NONCE_BYTES + TAG_BYTES
        ? this.#key.open(bytes.subarray(0, NONCE_BYTES), bytes.subarray(NONCE_BYTES), sender)
        : undefined;
    if (!secret) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'the pipe to the token host carries foreign bytes');
    return new SecretBytes(secret);
  }

  destroy(): void {
    this.#key.destroy();
  }
}
