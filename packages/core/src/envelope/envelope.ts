import { KmsError } from '../errors.ts';
import type { SecretBytes } from '../util/secret-bytes.ts';
import { associatedData } from './associated-data.ts';
import { encodeHeader } from './codec.ts';
import type { Envelope } from './codec.ts';
import { HALF_NONCE } from './gcm.ts';
import type { GcmRunner } from './gcm.ts';
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
export type OpeningKey = Pick<EnvelopeKey, 'open' | 'openBy' | 'destroy'>;

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

  /** As {@link EnvelopeKey.seal}, but for AES-GCM, which `runner` does with the message's key: ours does not leave this thread. */
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

  /** An envelope for `plaintext` with its header and nonce. */
  #begin(plaintext: Uint8Array, fixedNonce?: Buffer): Buffer {
    const header = this.#header;
    if (plaintext.length === 0) throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'an empty plaintext is not encrypted');
    if (plaintext.length > MAX_PLAINTEXT_BYTES) {
      const message = `the plaintext is ${plaintext.length} bytes, at most ${MAX_PLAINTEXT_BYTES} are allowed`;
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
    // Our associated data holds the header as this key seals it: an envelope with any other header cannot have a
    // matching tag, so it is not worth the AEAD.
    const plaintext = envelope.header.equals(this.#header)
      ? this.#xaes.open(envelope.nonce, envelope.sealed, this.#associatedData)
      : undefined;
    if (plaintext === undefined) throw wrongTag();
    return plaintext;
  }

  /** As {@link EnvelopeKey.open}, with AES-GCM by `runner`. */
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
