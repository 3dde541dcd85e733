import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import { associatedData, encodeHeader } from './codec.ts';
import type { Envelope } from './codec.ts';
import { HALF_NONCE } from './gcm.ts';
import type { GcmRunner } from './gcm.ts';
import { MAX_PLAINTEXT_BYTES, NONCE_BYTES, TAG_BYTES } from './limits.ts';
import { takeNonce } from './nonces.ts';
import { XaesKey } from './xaes.ts';

export interface EnvelopeKeyOptions {
  /** 32 bytes. The new object takes them over and wipes them. */
  readonly key: SecretBytes;
  /** Public id of the KEK: of `key` itself, or of the KEK in the token that wrapped it. */
  readonly keyId: string;
  /** 16 bytes: the keyset's random context id. */
  readonly contextId: Buffer;
  /** For a local KEK: `key` as the token wrapped it. Empty if `key` is the KEK. */
  readonly wrapped?: Buffer;
}

/** The half of a key that opens: all that a cache of other replicas' keys needs. */
export type OpeningKey = Pick<EnvelopeKey, 'open' | 'openBy' | 'destroy'>;

/**
 * One key that seals and opens envelopes (`docs/spec/envelope-v1.md` §7). Header and associated data depend only on the key, so they are
 * computed once.
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
   * Seals with a given nonce.
   * @deprecated For test vectors only. A nonce that is used twice reveals the plaintexts.
   */
  sealWithNonce(plaintext: Uint8Array, nonce: Buffer): Buffer {
    return this.#seal(plaintext, nonce);
  }

  /** Like {@link EnvelopeKey.seal}, with AES-GCM by `runner`. Only the message key leaves this thread. */
  async sealBy(runner: GcmRunner, plaintext: Uint8Array): Promise<Buffer> {
    const envelope = this.#begin(plaintext);
    const sealedAt = this.#header.length + NONCE_BYTES;
    const nonce = envelope.subarray(this.#header.length, sealedAt);
    const sealed = await runner.run({
      messageKey: this.#xaes.messageKey(nonce),
      nonce: nonce.subarray(HALF_NONCE),
      associatedData: this.#associatedData,
      input: plaintext,
      sealTo: envelope.subarray(sealedAt),
    });
    if (!sealed) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'the message was not sealed');
    return envelope;
  }

  #seal(plaintext: Uint8Array, fixedNonce?: Buffer): Buffer {
    const envelope = this.#begin(plaintext, fixedNonce);
    const [nonceAt, sealedAt] = [this.#header.length, this.#header.length + NONCE_BYTES];
    this.#xaes.seal(envelope.subarray(nonceAt, sealedAt), plaintext, this.#associatedData, envelope, sealedAt);
    return envelope;
  }

  /** Allocates an envelope for `plaintext` and writes header and nonce. */
  #begin(plaintext: Uint8Array, fixedNonce?: Buffer): Buffer {
    const header = this.#header;
    if (plaintext.length === 0) throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'the plaintext is empty');
    if (plaintext.length > MAX_PLAINTEXT_BYTES) {
      const message = `the plaintext has ${plaintext.length} bytes; at most ${MAX_PLAINTEXT_BYTES} are allowed`;
      throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', message);
    }
    const envelope = Buffer.allocUnsafe(header.length + NONCE_BYTES + plaintext.length + TAG_BYTES);
    header.copy(envelope);
    if (fixedNonce) fixedNonce.copy(envelope, header.length);
    else takeNonce(envelope, header.length);
    return envelope;
  }

  /**
   * Opens an envelope that names this key (spec §7.2). The caller owns the result.
   * @throws {@link KmsError} `ERR_KMS_AUTHENTICATION_FAILED`, `ERR_KMS_CLOSED`
   */
  open(envelope: Envelope): Buffer {
    // The associated data contains this key's header. The tag of an envelope with another header cannot match, so the AEAD is skipped.
    const plaintext = envelope.header.equals(this.#header)
      ? this.#xaes.open(envelope.nonce, envelope.sealed, this.#associatedData)
      : undefined;
    if (plaintext === undefined) throw wrongTag();
    return plaintext;
  }

  /** Like {@link EnvelopeKey.open}, with AES-GCM by `runner`. */
  async openBy(runner: GcmRunner, { header, nonce, sealed }: Envelope): Promise<Buffer> {
    if (!header.equals(this.#header)) throw wrongTag();
    const plaintext = await runner.run({
      messageKey: this.#xaes.messageKey(nonce),
      nonce: nonce.subarray(HALF_NONCE),
      associatedData: this.#associatedData,
      input: sealed,
    });
    if (!plaintext) throw wrongTag();
    return plaintext;
  }

  destroy(): void {
    this.#xaes.destroy();
  }
}

function wrongTag(): KmsError {
  return new KmsError('ERR_KMS_AUTHENTICATION_FAILED', 'the authentication tag is wrong');
}
