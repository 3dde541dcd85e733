import { stringify } from 'yaml';
import { z } from 'zod';
import { CONTEXT_ID_BYTES } from '../envelope/limits.ts';
import { isKeyId } from '../envelope/key-id.ts';
import { KmsError } from '../errors.ts';
import { formatProblems, parseYaml } from '../util/yaml-document.ts';

/** The manifest's name in a keyset directory and in a Secret's data (design D11). */
export const MANIFEST_NAME = 'keyset.yaml';

/** Longest manifest that is read, in bytes. A manifest of 1,000 keys takes about 150 KiB. */
export const MAX_MANIFEST_BYTES = 256 * 1024;

/** The name of a key's blob, 32 raw bytes, beside the manifest. */
export const blobName = (keyId: string): string => `${keyId}.key`;

/**
 * The states of a key, in this order:
 * - `pending`: opens on every replica and has never sealed. It can be promoted
 * - `promoted`: is the primary, or was the primary and now only opens
 * - `retired`: not in use. Its blob exists until the key is destroyed
 */
export type KeyState = 'pending' | 'promoted' | 'retired';

const isContextId = (text: string) => new RegExp(`^[0-9a-f]{${2 * CONTEXT_ID_BYTES}}$`).test(text);

const keyIdSchema = z.string().refine(isKeyId, 'expected a key id: 1-64 of a-z, 0-9, "." and "-"');
const secretSchema = z
  .string()
  .regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'expected the UUID of a Barbican secret, in lower case');
const timeSchema = z.iso.datetime('expected a time in UTC such as 2026-01-02T03:04:05Z');

const manifestSchema = z
  .strictObject({
    formatVersion: z.literal(1),
    contextId: z.string().refine(isContextId, 'expected 32 hexadecimal digits, lower case, in quotes'),
    primary: keyIdSchema,
    keys: z
      .array(
        z.strictObject({
          id: keyIdSchema,
          created: timeSchema,
          state: z.enum(['pending', 'promoted', 'retired']),
          since: timeSchema,
          /** The key's secret in Barbican. Other stores find a key by its id. */
          secret: secretSchema.optional(),
        }),
      )
      .min(1)
      .max(1000),
  })
  .superRefine((manifest, context) => {
    const ids = manifest.keys.map((key) => key.id);
    ids.forEach((id, index) => {
      if (ids.indexOf(id) !== index) {
        context.addIssue({ code: 'custom', path: ['keys', index, 'id'], message: `key ${id} is listed twice` });
      }
    });
    if (manifest.keys.find((key) => key.id === manifest.primary)?.state !== 'promoted') {
      const message = `expected the id of a listed key in state "promoted", found ${manifest.primary}`;
      context.addIssue({ code: 'custom', path: ['primary'], message });
    }
  });

/** What a keyset consists of, without key material. It is the same on every replica. */
export type Manifest = Readonly<z.infer<typeof manifestSchema>>;
export type ManifestEntry = Readonly<Manifest['keys'][number]>;
/** Where a key is, for stores that name keys themselves. */
export type KeyLocation = Pick<ManifestEntry, 'secret'>;

/**
 * @param where - what an error names: a path, a Secret
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` with line, path, and what was expected and found
 */
export function parseManifest(text: string, where: string): Manifest {
  if (text.length > MAX_MANIFEST_BYTES)
    throw new KmsError(
      'ERR_KMS_KEYSET_INVALID',
      `${where}: more than ${MAX_MANIFEST_BYTES} bytes, too long for a manifest`,
    );
  const { value, problems } = parseYaml(text, manifestSchema);
  if (problems) throw new KmsError('ERR_KMS_KEYSET_INVALID', formatProblems(where, problems));
  return value;
}

export function formatManifest(manifest: Manifest): string {
  const comment =
    '# A keyset of Teapot KMS: which keys there are, and which one seals. Holds no secret.\n' +
    '# Change it with `teapot-kms keys`, not by hand: replicas and clusters rely on its rules.\n';
  return comment + stringify(manifest, { defaultStringType: 'PLAIN', lineWidth: 0 });
}
