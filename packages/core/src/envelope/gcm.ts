import { createCipheriv, createDecipheriv } from 'node:crypto';
import { TAG_BYTES } from './limits.ts';

/** What the GCM half of XAES uses of the 24-byte nonce; the first half derives the message's key. */
export const HALF_NONCE = 12;

/**
 * Seals one message: writes ciphertext ‖ tag (`plaintext.length` + 16 bytes) to `out` at `offset`.
 * @param messageKey - 32 bytes for this message only, which are wiped
 * @param nonce - 12 bytes
 */
export function sealMessage(
  messageKey: Buffer,
  nonce: Buffer,
  plaintext: Uint8Array,
  associatedData: Buffer,
  out: Buffer,
  offset: number,
): void {
  const gcm = createCipheriv('aes-256-gcm', messageKey, nonce);
  messageKey.fill(0);
  gcm.setAAD(associatedData);
  const sealed = gcm.update(plaintext);
  gcm.final();
  sealed.copy(out, offset);
  gcm.getAuthTag().copy(out, offset + sealed.length);
}

/**
 * The plaintext of `sealed` (ciphertext ‖ tag), which the caller owns, or `undefined` when the tag is wrong.
 * @param messageKey - as of {@link sealMessage}
 */
export function openMessage(
  messageKey: Buffer,
  nonce: Buffer,
  sealed: Uint8Array,
  associatedData: Buffer,
): Buffer | undefined {
  const gcm = createDecipheriv('aes-256-gcm', messageKey, nonce, { authTagLength: TAG_BYTES });
  messageKey.fill(0);
  gcm.setAAD(associatedData);
  gcm.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plaintext = gcm.update(sealed.subarray(0, sealed.length - TAG_BYTES));
  try {
    gcm.final();
  } catch {
    plaintext.fill(0);
    return undefined;
  }
  return plaintext;
}

/** AES-GCM of one message that may be done by another thread than its key's. */
export interface GcmJob {
  /** 32 bytes for this message only; whoever takes the job wipes them. */
  readonly messageKey: Buffer;
  /** 12 bytes. */
  readonly nonce: Buffer;
  readonly associatedData: Buffer;
  /** The plaintext, or ciphertext ‖ tag. */
  readonly input: Uint8Array;
  /** To seal: where ciphertext ‖ tag go. To open: left out, and the plaintext gets a buffer of its own. */
  readonly sealTo?: Buffer;
}

/** Does a job here and now. Returns what was sealed or opened; `undefined` where the tag is wrong. */
export function doJob({ messageKey, nonce, associatedData, input, sealTo }: GcmJob): Buffer | undefined {
  if (!sealTo) return openMessage(messageKey, nonce, input, associatedData);
  sealMessage(messageKey, nonce, input, associatedData, sealTo, 0);
  return sealTo;
}

/** Does jobs in its own time, perhaps in another thread. Resolves to what {@link doJob} returns. */
export interface GcmRunner {
  run(job: GcmJob): Promise<Buffer | undefined>;
}
