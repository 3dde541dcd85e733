import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../secret-bytes.ts';
import { associatedData } from './associated-data.ts';
import { encodeHeader } from './codec.ts';
import type { Envelope } from './codec.ts';
import { MAX_PLAINTEXT_BYTES, NONCE_BYTES, TAG_BYTES } from './limits.ts';
import { takeNonce } from './nonces.ts';
import { XaesKey } from './xaes.ts';

export interface EnvelopeKeyOptions {
  /** 32 bytes; taken over and wiped. */
  readonly key: SecretBytes;
  /** Public id of the KEK: of `key` itself, or of the KEK in the token that wraps it. */
  readonly keyId: string;
  /** 16 bytes: the keyset's random context id. */
  readonly contextId: Buffer;
  /** `key` as the token wrapped it, for a local KEK; empty where `key` is the KEK. */
  readonly wrapped?: Buffer;
}

/** The opening half of a key, which is all that a cache of others' keys may hold. */
export type OpeningKey = Pick<EnvelopeKey, 'open' | 'destroy'>;

/**
 * One key that seals and opens envelopes (`docs/spec/envelope-v1.md` §7). Header and associated data depend only on
 * the key, so they are made once.
 */
export class EnvelopeKey {
  readonly keyId: string;
  readonly #xaes: XaesKey;
  readonly #header: Buffer;
  readonly #associatedData: Buffer;

  constructor({ key, keyId, contextId, wrapped = Buffer.alloc(0) }: EnvelopeKeyOptions) {
    this.keyId = keyId;
    try {
      this.#header = encodeHeader(keyId, wrapped);
      this.#associatedData = associatedData(this.#header, contextId);
    } catch (error) {
      key.wipe();
      throw error;
    }
    this.#xaes = new XaesKey(key);
  }

  /**
   * Seals `plaintext` (1 byte or more) into an envelope (spec §7.1).
   * @throws {@link KmsError} `ERR_KMS_LIMIT_EXCEEDED`, `ERR_KMS_CLOSED`
   */
  seal(plaintext: Uint8Array): Buffer {
    return this.#seal(plaintext);
  }

  /**
   * Seals with a nonce of the caller's choice.
   * @deprecated For test vectors only: a nonce used twice gives the plaintexts away.
   */
  sealWithNonce(plaintext: Uint8Array, nonce: Buffer): Buffer {
    return this.#seal(plaintext, nonce);
  }

  #seal(plaintext: Uint8Array, fixedNonce?: Buffer): Buffer {
    const header = this.#header;
    if (plaintext.length === 0) throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'an empty plaintext is not encrypted');
    if (plaintext.length > MAX_PLAINTEXT_BYTES) {
      const message = `the plaintext is ${plaintext.length} bytes, at most ${MAX_PLAINTEXT_BYTES} are allowed`;
      throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', message);
    }
    const sealedAt = header.length + NONCE_BYTES;
    const envelope = Buffer.allocUnsafe(sealedAt + plaintext.length + TAG_BYTES);
    header.copy(envelope);
    if (fixedNonce) fixedNonce.copy(envelope, header.length);
    else takeNonce(envelope, header.length);
    this.#xaes.seal(envelope.subarray(header.length, sealedAt), plaintext, this.#associatedData, envelope, sealedAt);
    return envelope;
  }

  /**
   * Opens an envelope that names this key (spec §7.2). The caller owns the result.
   * @throws {@link KmsError} `ERR_KMS_AUTHENTICATION_FAILED`, `ERR_KMS_CLOSED`
   */
  open(envelope: Envelope): Buffer {
    // Our associated data holds the header as this key seals it: an envelope with any other header cannot have a
    // matching tag, so it is not worth the AEAD.
    const plaintext = envelope.header.equals(this.#header)
      ? this.#xaes.open(envelope.nonce, envelope.sealed, this.#associatedData)
      : undefined;
    if (plaintext === undefined) throw new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'the authentication tag is wrong');
    return plaintext;
  }

  destroy(): void {
    this.#xaes.destroy();
  }
}
