import { KmsError } from '../errors.ts';
import { isKeyId } from './key-id.ts';
import {
  CONTEXT_ID_BYTES,
  FIXED_HEADER_BYTES,
  MAX_ENVELOPE_BYTES,
  MAX_KEY_ID_BYTES,
  MAX_WRAPPED_BYTES,
  NONCE_BYTES,
  TAG_BYTES,
} from './limits.ts';

const MAGIC_0 = 0x54;
const MAGIC_1 = 0x4b;
const VERSION = 1;
const LABEL = Buffer.from('teapot-kms/envelope/v1', 'latin1');

/** Algorithms by number (spec §6). */
export const SUITE_XAES_256_GCM = 1;

/** The parts of an envelope (spec §5). The buffers are views of the ciphertext. Contains neither key nor plaintext. */
export interface Envelope {
  /** All bytes before the nonce. They are authenticated unchanged. */
  readonly header: Buffer;
  readonly keyId: string;
  /** The wrapped local KEK; empty if the KEK itself seals. */
  readonly wrapped: Buffer;
  /** 24 bytes. */
  readonly nonce: Buffer;
  /** Ciphertext ‖ 16-byte tag, at least 17 bytes. */
  readonly sealed: Buffer;
}

/**
 * The header of every envelope sealed under one key (spec §5.1).
 * @throws {@link KmsError} `ERR_KMS_LIMIT_EXCEEDED`
 */
export function encodeHeader(keyId: string, wrapped: Buffer): Buffer {
  if (!isKeyId(keyId)) throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'the key id is empty, too long or not printable');
  if (wrapped.length > MAX_WRAPPED_BYTES) {
    const message = `the wrapped local KEK has ${wrapped.length} bytes; at most ${MAX_WRAPPED_BYTES} are allowed`;
    throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', message);
  }
  const header = Buffer.alloc(FIXED_HEADER_BYTES + keyId.length + wrapped.length);
  header.set([MAGIC_0, MAGIC_1, VERSION, SUITE_XAES_256_GCM, keyId.length]);
  header.write(keyId, 5, 'latin1');
  header.writeUInt16BE(wrapped.length, 5 + keyId.length);
  wrapped.copy(header, FIXED_HEADER_BYTES + keyId.length);
  return header;
}

/**
 * The associated data (spec §6.3): label ‖ context id ‖ header. Label and context id have fixed lengths, and the header contains the
 * lengths of its parts, so different inputs never give the same bytes.
 *
 * @param contextId - the keyset's 16 random bytes. They keep one tenant's ciphertext from opening in another tenant's instance
 */
export function associatedData(header: Buffer, contextId: Buffer): Buffer {
  if (contextId.length !== CONTEXT_ID_BYTES) throw new RangeError('a context id has 16 bytes');
  // Of its own memory: a key keeps it for long, and a slice of Node's pool would keep 64 KiB.
  const data = Buffer.alloc(LABEL.length + CONTEXT_ID_BYTES + header.length);
  LABEL.copy(data);
  contextId.copy(data, LABEL.length);
  header.copy(data, LABEL.length + CONTEXT_ID_BYTES);
  return data;
}

/** The key id in a ciphertext; `undefined` if it is no envelope. */
export function keyIdOf(ciphertext: Buffer): string | undefined {
  try {
    return decodeEnvelope(ciphertext).keyId;
  } catch {
    return undefined;
  }
}

/**
 * Decodes a ciphertext. Checks each length before it is used (spec §7.2, steps 1–6).
 * @throws {@link KmsError} `ERR_KMS_LIMIT_EXCEEDED`, `ERR_KMS_ENVELOPE_MALFORMED`, `ERR_KMS_ENVELOPE_VERSION`
 */
export function decodeEnvelope(bytes: Buffer): Envelope {
  if (bytes.length > MAX_ENVELOPE_BYTES) throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'the ciphertext is too long');
  if (bytes.length < FIXED_HEADER_BYTES || bytes[0] !== MAGIC_0 || bytes[1] !== MAGIC_1) {
    throw malformed('not an envelope of Teapot KMS');
  }
  if (bytes[2] !== VERSION) throw new KmsError('ERR_KMS_ENVELOPE_VERSION', 'unknown version');
  if (bytes[3] !== SUITE_XAES_256_GCM) throw new KmsError('ERR_KMS_ENVELOPE_VERSION', 'unknown suite');
  const keyIdLength = bytes[4]!;
  if (keyIdLength === 0 || keyIdLength > MAX_KEY_ID_BYTES) {
    throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'key id length out of range');
  }
  const wrappedAt = FIXED_HEADER_BYTES + keyIdLength;
  if (bytes.length < wrappedAt) throw malformed('truncated in the key id');
  const wrappedLength = bytes.readUInt16BE(wrappedAt - 2);
  if (wrappedLength > MAX_WRAPPED_BYTES)
    throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'wrapped key length out of range');
  const nonceAt = wrappedAt + wrappedLength;
  const sealedAt = nonceAt + NONCE_BYTES;
  if (bytes.length < sealedAt + TAG_BYTES) throw malformed('truncated');
  if (bytes.length === sealedAt + TAG_BYTES) throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', 'empty plaintext');
  const keyId = bytes.toString('latin1', 5, 5 + keyIdLength);
  if (!isKeyId(keyId)) throw malformed('invalid character in the key id');
  return {
    header: bytes.subarray(0, nonceAt),
    keyId,
    wrapped: bytes.subarray(wrappedAt, nonceAt),
    nonce: bytes.subarray(nonceAt, sealedAt),
    sealed: bytes.subarray(sealedAt),
  };
}

/**
 * Checks that the key_id of a KMS v2 request is the one in the envelope (spec §7.2). KMS v1 sends none.
 * @throws {@link KmsError} `ERR_KMS_KEY_ID_MISMATCH`
 */
export function checkKeyId(envelope: Envelope, keyId: string | undefined): void {
  if (keyId !== undefined && keyId !== envelope.keyId) {
    throw new KmsError('ERR_KMS_KEY_ID_MISMATCH', 'the request names another key than the ciphertext');
  }
}

function malformed(what: string): KmsError {
  return new KmsError('ERR_KMS_ENVELOPE_MALFORMED', what);
}
