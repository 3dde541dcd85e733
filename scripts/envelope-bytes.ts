/** Makes the bytes of the test vectors. Vectors of failures are assembled without the code under test. */
import { createCipheriv, createHash } from 'node:crypto';
import { EnvelopeKey, SecretBytes } from '@teapot-kms/core';

/** Returns 32 fixed bytes for a label. */
export const fixed = (label: string): Buffer => createHash('sha256').update(`teapot-kms vector: ${label}`).digest();
export const hex = (bytes: Buffer): string => bytes.toString('hex');

export const KEY_ID = 'mfrggzdfmztwq2lknnwg23tpoa';
export const OTHER_KEY_ID = 'nbswy3dpfqqho33snrscc43fmq';
export const KEY = fixed('key');
export const OTHER_KEY = fixed('other key');
export const LOCAL_KEK = fixed('local KEK');
export const OTHER_LOCAL_KEK = fixed('other local KEK');
export const CONTEXT = fixed('context').subarray(0, 16);
export const OTHER_CONTEXT = fixed('other context').subarray(0, 16);
export const NONCE = fixed('nonce').subarray(0, 24);
export const SEED = fixed('DEK seed');
export const NONE: Buffer = Buffer.alloc(0);
export const wrappedOf = (bytes: number): Buffer => Buffer.alloc(bytes, fixed(`wrapped ${String(bytes)}`));

/** The parts of an envelope. Each part that is given replaces the valid one. */
interface Parts {
  readonly magic?: string;
  readonly version?: number;
  readonly suite?: number;
  readonly keyId?: string;
  readonly keyIdLength?: number;
  readonly wrapped?: Buffer;
  readonly wrappedLength?: number;
  readonly nonce?: Buffer;
  readonly plaintext?: Buffer;
  readonly key?: Buffer;
  readonly contextId?: Buffer;
  readonly label?: string;
}

/** Assembles an envelope without the code under test. It is valid except for the given parts. */
export function assemble(parts: Parts = {}): Buffer {
  const { keyId = KEY_ID, wrapped = NONE, nonce = NONCE, plaintext = SEED, key = KEY, contextId = CONTEXT } = parts;
  const id = Buffer.from(keyId, 'latin1');
  const wrappedLength = Buffer.alloc(2);
  wrappedLength.writeUInt16BE(parts.wrappedLength ?? wrapped.length);
  const header = Buffer.concat([
    Buffer.from(parts.magic ?? 'TK', 'latin1'),
    Buffer.from([parts.version ?? 1, parts.suite ?? 1, parts.keyIdLength ?? id.length]),
    id,
    wrappedLength,
    wrapped,
  ]);
  const associatedData = Buffer.concat([Buffer.from(parts.label ?? 'teapot-kms/envelope/v1'), contextId, header]);
  const gcm = createCipheriv('aes-256-gcm', deriveKey(key, nonce), nonce.subarray(12)).setAAD(associatedData);
  return Buffer.concat([header, nonce, gcm.update(plaintext), gcm.final(), gcm.getAuthTag()]);
}

/** Derives the key as in spec §6.2, steps 1 and 2, with big integers. */
function deriveKey(key: Buffer, nonce: Buffer): Buffer {
  const aes = (block: Buffer) => createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(block);
  const l = BigInt(`0x${hex(aes(Buffer.alloc(16)))}`);
  const k1 = BigInt.asUintN(128, l << 1n) ^ (l >> 127n === 1n ? 0x87n : 0n);
  const block = (i: number) => {
    const m = Buffer.concat([Buffer.from([0, i, 0x58, 0]), nonce.subarray(0, 12)]);
    return aes(Buffer.from((BigInt(`0x${hex(m)}`) ^ k1).toString(16).padStart(32, '0'), 'hex'));
  };
  return Buffer.concat([block(1), block(2)]);
}

/** Seals with the code under test and a fixed nonce. */
export function seal(plaintext: Buffer, keyId = KEY_ID, key = KEY, wrapped = NONE): Buffer {
  const sealer = new EnvelopeKey({ key: new SecretBytes(Buffer.from(key)), keyId, contextId: CONTEXT, wrapped });
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- it exists for these vectors
  const envelope = sealer.sealWithNonce(plaintext, NONCE);
  sealer.destroy();
  return envelope;
}

/** Flips the bits of `mask` in one byte. A negative index counts from the end. */
export function changed(envelope: Buffer, at: number, mask = 1): Buffer {
  const copy = Buffer.from(envelope);
  copy[at < 0 ? copy.length + at : at]! ^= mask;
  return copy;
}

/** Replaces a part of a finished envelope, which makes its tag invalid. */
export function spliced(envelope: Buffer, at: number, part: Buffer): Buffer {
  const copy = Buffer.from(envelope);
  part.copy(copy, at);
  return copy;
}

/** A test vector, as described in `docs/spec/envelope-v1.md` §12. */
export interface EnvelopeVector {
  readonly name: string;
  readonly comment: string;
  readonly clause: string;
  readonly expect: string;
  readonly code?: string;
  readonly contextId: string;
  readonly keys: Readonly<Record<string, string>>;
  readonly requestKeyId?: string;
  readonly unwrapped?: Readonly<Record<string, string | null>>;
  readonly ciphertext: string;
  readonly plaintextSha256?: string;
}

/** Fields of some vectors only. */
export type Extra = Partial<Pick<EnvelopeVector, 'keys' | 'requestKeyId' | 'unwrapped'>>;
export const BOTH_KEYS = { keys: { [KEY_ID]: hex(KEY), [OTHER_KEY_ID]: hex(OTHER_KEY) } };
/** The vector needs a token. `keys` lists its key ids; their values are not used. */
export const token = (unwrapped: Record<string, string | null>): Extra => ({ unwrapped });
export const unwraps = (wrapped: Buffer, key: Buffer | null): Extra => token({ [hex(wrapped)]: key && hex(key) });
