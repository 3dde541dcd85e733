import { KmsError } from '@teapot-kms/core';
import { closeSync, openSync, readSync } from 'node:fs';
import { parseStoredValue } from './stored-value.ts';
import type { StoredValue } from './stored-value.ts';

/** Longest input in bytes: base64 of etcd's largest usual value has 2 MiB. */
export const MAX_INPUT_BYTES = 16 * 1024 * 1024;

const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;
/** The first bytes of what kube-apiserver stores: `k8s:enc:`, `k8s\0`, CBOR's tag, JSON. */
const BEGINNINGS = [Buffer.from('k8s:enc:'), Buffer.from('k8s\0'), Buffer.from([0xd9, 0xd9, 0xf7]), Buffer.from('{')];

/** Reads a file or a pipe, and of a longer one only so much that its length is known to be too long. */
export function readInput(path: string): Buffer {
  const file = openSync(path, 'r');
  try {
    const chunks: Buffer[] = [];
    for (let length = 0; length <= MAX_INPUT_BYTES;) {
      const chunk = Buffer.alloc(64 * 1024);
      const read = readSync(file, chunk);
      if (read === 0) break;
      chunks.push(chunk.subarray(0, read));
      length += read;
    }
    return Buffer.concat(chunks);
  } finally {
    closeSync(file);
  }
}

/**
 * Reads a value. Of one that ends with a line break, as etcdctl prints it, the line break may be left out.
 * @returns the value and its bytes
 * @throws {@link KmsError} as {@link parseStoredValue}
 */
export function parsePrinted(value: Buffer): { readonly stored: StoredValue; readonly bytes: Buffer } {
  try {
    return { stored: parseStoredValue(value), bytes: value };
  } catch (error) {
    if (value.at(-1) !== 0x0a) throw error;
    const bytes = value.subarray(0, -1);
    return { stored: parseStoredValue(bytes), bytes };
  }
}

/**
 * Returns the value that a file or a pipe holds: the bytes themselves, or their base64.
 * @throws {@link KmsError} `ERR_KMS_STORED_VALUE_MALFORMED` if there is nothing, or too much
 */
export function valueOfInput(input: Buffer): Buffer {
  if (input.length === 0 || input.length > MAX_INPUT_BYTES) {
    const message = `expected a value of 1 to ${MAX_INPUT_BYTES} bytes, found ${input.length === 0 ? 'none' : 'more'}`;
    const remedy = 'give the value of one key: "etcdctl get KEY --print-value-only"';
    throw new KmsError('ERR_KMS_STORED_VALUE_MALFORMED', message, { remedy });
  }
  if (begins(input) || !BASE64.test(input.toString('latin1'))) return input;
  const decoded = Buffer.from(input.toString('latin1'), 'base64');
  return begins(decoded) ? decoded : input;
}

const begins = (bytes: Buffer): boolean => BEGINNINGS.some((start) => bytes.subarray(0, start.length).equals(start));
