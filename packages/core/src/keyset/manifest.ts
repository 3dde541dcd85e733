import { createHash } from 'node:crypto';
import { stringify } from 'yaml';
import * as z from 'zod';
import { CONTEXT_ID_BYTES, MAX_WRAPPED_BYTES } from '../envelope/limits.ts';
import { isKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import { shownValue, withheldValue } from '../util/shown-value.ts';
import { RESTORE_MANIFEST } from './restoring.ts';
import { formatProblems, parseYaml } from '../util/yaml-document.ts';

/** The manifest's name in a keyset directory and in a Secret's data (design D11). */
export const MANIFEST_NAME = 'keyset.yaml';

/** The format versions that this plugin reads. */
export const FORMAT_VERSIONS = [1, 2];

/** Longest manifest that is read, in bytes. A manifest of 1,000 keys takes about 150 KiB. */
export const MAX_MANIFEST_BYTES = 256 * 1024;

/** Most keys of a keyset that is read. Their tokens take about 0.1 s. */
const MAX_KEYS = 1_000;
const MAX_MANIFEST_TOKENS = 100_000;

/** Most keys of a keyset that gets another one: they are read in less than 50 ms. */
export const MAX_KEYS_TO_GROW = 250;

/** The name of a key's blob, 32 raw bytes, beside the manifest. */
export const blobName = (keyId: string): string => `${keyId}.key`;

/**
 * The states of a key, in this order:
 * - `pending`: opens on every replica and has never sealed. It can be promoted
 * - `promoted`: is the primary, or was the primary and now only opens
 * - `retired`: not in use. Its blob exists until the key is destroyed
 */
export type KeyState = 'pending' | 'promoted' | 'retired';

const hex = (bytes: number, what: string) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `expected ${what}: ${2 * bytes} hexadecimal digits, lower case`);

export const keyIdSchema = z.string().refine(isKeyId, 'expected a key id: 1-64 of a-z, 0-9, "." and "-"');
const secretSchema = z
  .string()
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'expected the UUID of a Barbican secret, in lower case');
const timeSchema = z.iso.datetime('expected a time in UTC such as 2026-01-02T03:04:05Z');
const wrappedSchema = z
  .base64('expected the wrapped check key, in base64')
  .max(Math.ceil(MAX_WRAPPED_BYTES / 3) * 4, `expected at most ${MAX_WRAPPED_BYTES} bytes in base64`);

const entrySchema = z.strictObject({
  id: keyIdSchema,
  created: timeSchema,
  state: z.enum(['pending', 'promoted', 'retired']),
  since: timeSchema,
  /** The key's secret in Barbican. Other stores find a key by its id. */
  secret: secretSchema.optional(),
});

const traitsSchema = z.object({
  /** Absent only for a key that was retired when its keyset was converted. */
  check: hex(16, 'a check value').optional(),
  /** Of a key that stays in a token: the wrapped check key. */
  checkKey: wrappedSchema.optional(),
  /** Of an RSA key: SHA-256 of its SubjectPublicKeyInfo. */
  publicKey: hex(32, 'a SHA-256').optional(),
  /** Of a key in a token: it was made outside, and a copy was written for escrow. */
  imported: z.literal(true).optional(),
});

const fields = {
  contextId: z
    .string()
    .refine(
      (text) => /^[0-9a-f]+$/.test(text) && text.length === 2 * CONTEXT_ID_BYTES,
      'expected 32 hexadecimal digits, lower case, in quotes',
    ),
  primary: keyIdSchema,
};

const version1 = z.strictObject({
  formatVersion: z.literal(1),
  ...fields,
  keys: z.array(entrySchema).min(1).max(MAX_KEYS),
});

const version2 = z.strictObject({
  formatVersion: z.literal(2),
  ...fields,
  generation: z.int('expected a whole number').min(1, 'expected a whole number of at least 1'),
  replaces: hex(32, 'the SHA-256 of a manifest').optional(),
  keys: z.array(entrySchema.extend(traitsSchema.shape)).min(1).max(MAX_KEYS),
  /** Notes of `teapot-kms rotate`. */
  rotation: z
    .record(z.string().max(64), z.string().max(1024))
    .refine((notes) => Object.keys(notes).length <= 64, 'expected at most 64 notes')
    .optional(),
});

const manifestSchema = z
  .discriminatedUnion('formatVersion', [version1, version2], 'expected 1 or 2')
  .superRefine((manifest, context) => {
    const seen = new Set<string>();
    manifest.keys.forEach(({ id }, index) => {
      if (seen.has(id)) {
        context.addIssue({ code: 'custom', path: ['keys', index, 'id'], message: `key ${id} is listed twice` });
      }
      seen.add(id);
    });
    if (manifest.keys.find((key) => key.id === manifest.primary)?.state !== 'promoted') {
      const message = `expected the id of a listed key in state "promoted", found ${manifest.primary}`;
      context.addIssue({ code: 'custom', path: ['primary'], message });
    }
  });

/** A key of a keyset (`docs/spec/keyset-v2.md` §3). Version 1 has no `check`, `checkKey` and `publicKey`. */
export interface ManifestEntry extends Readonly<z.infer<typeof entrySchema>>, KeyTraits {}

/** What the entry of a key says besides its id and state: where the key is, and how to recognise it. */
export interface KeyTraits extends Readonly<Partial<z.infer<typeof traitsSchema>>> {
  readonly secret?: string | undefined;
}

/** What a keyset consists of, without key material (`docs/spec/keyset-v2.md` §3). It is the same on every replica. */
export interface Manifest {
  readonly formatVersion: 1 | 2;
  readonly contextId: string;
  /** 0 in version 1. */
  readonly generation: number;
  readonly replaces?: string | undefined;
  readonly primary: string;
  readonly keys: readonly ManifestEntry[];
  readonly rotation?: Readonly<Record<string, string>> | undefined;
}

/** A manifest as a store has it. */
export interface StoredManifest extends Manifest {
  /** SHA-256 of its bytes, in hexadecimal: the next manifest names it. */
  readonly hash: string;
}

/**
 * @param where - what an error names: a path, a Secret
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` with line, path, and what was expected and found
 */
export function parseManifest(text: string, where: string): StoredManifest {
  if (text.length > MAX_MANIFEST_BYTES)
    throw damaged(`${where}: more than ${MAX_MANIFEST_BYTES} bytes, too long for a manifest`);
  const { value, problems } = parseYaml(text, manifestSchema, showFound, MAX_MANIFEST_TOKENS);
  if (problems) throw damaged(formatProblems(where, problems));
  return { generation: 0, ...value, hash: createHash('sha256').update(text).digest('hex') };
}

const damaged = (message: string): KmsError =>
  new KmsError('ERR_KMS_KEYSET_INVALID', message, { remedy: RESTORE_MANIFEST });

/**
 * {@link formatManifest}, for a manifest that goes into a store.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` for a manifest that {@link parseManifest} would refuse
 */
export function writableManifest(manifest: Manifest): string {
  const text = formatManifest(manifest);
  try {
    parseManifest(text, 'the new manifest');
  } catch (error) {
    throw new KmsError('ERR_KMS_KEYSET_RULE', (error as Error).message, { cause: error });
  }
  return text;
}

/** The text of a manifest. What only a stored one has, its hash, is left out. */
export function formatManifest(manifest: Manifest): string {
  const comment =
    '# A keyset of Teapot KMS: which keys there are, and which one seals. Holds no secret.\n' +
    '# Change it with `teapot-kms keys`, not by hand: replicas and clusters rely on its rules.\n';
  const { formatVersion, contextId, generation, replaces, primary, keys, rotation } = manifest;
  const versioned = formatVersion === 1 ? {} : { generation, replaces };
  // Always in this order, so that the text of what was read is what was written.
  const entries = keys.map(({ id, created, state, since, secret, check, checkKey, publicKey, imported }) => {
    return { id, created, state, since, secret, check, checkKey, publicKey, imported };
  });
  const written = { formatVersion, contextId, ...versioned, primary, keys: entries, rotation };
  return comment + stringify(written, { defaultStringType: 'PLAIN', lineWidth: 0, keepUndefined: false });
}

/** Somebody may have written a key where the name of its Barbican secret belongs, or given a key for the manifest. */
const showFound = (value: unknown, path: readonly PropertyKey[]): string =>
  path.length === 0 || path.at(-1) === 'secret' || typeof value === 'object' ? withheldValue(value) : shownValue(value);
