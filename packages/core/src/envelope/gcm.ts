import { createCipheriv, createDecipheriv } from 'node:crypto';
import { TAG_BYTES } from './limits.ts';

/** Half of the 24-byte nonce, in bytes: the first half derives the message key, the second half is AES-GCM's nonce. */
export const HALF_NONCE = 12;

/**
 * Seals one message: writes ciphertext ‖ tag (`plaintext.length` + 16 bytes) to `out` at `offset`.
 * @param messageKey - 32 bytes for this message only. They are wiped
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
 * Opens one message.
 * @param messageKey - as for {@link sealMessage}
 * @param sealed - ciphertext ‖ tag
 * @returns the plaintext, which the caller owns; `undefined` if the tag is wrong
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

/** AES-GCM of one message, which another thread may do. */
export interface GcmJob {
  /** 32 bytes for this message only. The runner of the job wipes them. */
  readonly messageKey: Buffer;
  /** 12 bytes. */
  readonly nonce: Buffer;
  readonly associatedData: Buffer;
  /** The plaintext, or ciphertext ‖ tag. */
  readonly input: Uint8Array;
  /** To seal: the buffer for ciphertext ‖ tag. Absent to open: the plaintext gets a new buffer. */
  readonly sealTo?: Buffer;
}

/** Does a job in this thread. Returns the sealed or opened bytes; `undefined` if the tag is wrong. */
export function doJob({ messageKey, nonce, associatedData, input, sealTo }: GcmJob): Buffer | undefined {
  if (!sealTo) return openMessage(messageKey, nonce, input, associatedData);
  sealMessage(messageKey, nonce, input, associatedData, sealTo, 0);
  return sealTo;
}

/** Does jobs asynchronously, perhaps in another thread. Resolves to the result of {@link doJob}. */
export interface GcmRunner {
  run(job: GcmJob): Promise<Buffer | undefined>;
}
