import { decodeEnvelope, KmsError } from '@teapot-kms/core';
import { createHash } from 'node:crypto';
import type { KmsValue } from './stored-value.ts';

/** What a plugin's ciphertext shows without any key. */
export type EnvelopeSummary =
  | {
      readonly format: 'teapot-v1';
      readonly keyId: string;
      /** The local KEK as a token wrapped it; absent if the key itself seals. The hash tells local KEKs apart. */
      readonly localKek?: { readonly bytes: number; readonly sha256: string };
    }
  /** It begins like an envelope of ours, and is none that this version can read. */
  | { readonly format: 'teapot-damaged'; readonly problem: string; readonly code: string }
  /** Of another plugin. */
  | { readonly format: 'other' };

/** Magic of `docs/spec/envelope-v1.md` §5. */
const MAGIC = Buffer.from('TK');

export function summaryOf(ciphertext: Buffer): EnvelopeSummary {
  if (!ciphertext.subarray(0, MAGIC.length).equals(MAGIC)) return { format: 'other' };
  try {
    const { keyId, wrapped } = decodeEnvelope(ciphertext);
    if (wrapped.length === 0) return { format: 'teapot-v1', keyId };
    const sha256 = createHash('sha256').update(wrapped).digest('hex');
    return { format: 'teapot-v1', keyId, localKek: { bytes: wrapped.length, sha256 } };
  } catch (error) {
    const { code, message } = KmsError.from(error, 'ERR_KMS_ENVELOPE_MALFORMED');
    return { format: 'teapot-damaged', problem: message, code };
  }
}

/** Why the plugin would refuse this object whatever keys it has, as far as that can be seen without a key. */
export function problemOf({ keyId }: KmsValue, envelope: EnvelopeSummary): string | undefined {
  if (envelope.format === 'teapot-damaged') return `the envelope is damaged: ${envelope.problem} (${envelope.code})`;
  if (envelope.format !== 'teapot-v1' || keyId === undefined || keyId === envelope.keyId) return undefined;
  return `the envelope names key ${envelope.keyId}, and the object another one (ERR_KMS_KEY_ID_MISMATCH)`;
}
