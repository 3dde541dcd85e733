import * as z from 'zod';
import { KmsError } from '../../errors.ts';
import { directoryOfUri } from '../../util/directory-uri.ts';
import { shownUri } from '../../util/shown-uri.ts';
import { duration } from '../../util/duration.ts';
import { cloudSettings } from './keystone/configuration.ts';

/** Of a Barbican secret. Barbican itself takes any case. */
export const UUID = /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/;

export const barbicanSettings = cloudSettings.extend({
  maxUnconfirmed: duration(60_000)
    .prefault('72h')
    .describe('how long keys may be used that Barbican has not confirmed again'),
  legacyKeys: z
    .array(z.string().regex(UUID, 'expected the UUID of a Barbican secret'))
    .default([])
    .describe(
      'secrets that barbican-kms-plugin encrypted with; its data can then be decrypted. [KeyManager] key-id of cloudConfig is one too',
    ),
  creators: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe('ids of the users whose manifests in Barbican count; default: the user that the plugin logs in as'),
});

export type BarbicanSettings = z.output<typeof barbicanSettings>;

export type ManifestPlace = { readonly directory: string } | { readonly name: string };

/**
 * Reads from the URI where the manifest is: `barbican:/directory` on this host, `barbican:name` in Barbican under that name.
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI`
 */
export function manifestPlaceOf(uri: string): ManifestPlace {
  const directory = directoryOfUri(uri);
  if (directory !== undefined) return { directory };
  const rest = uri.replace(/^barbican:/, '');
  if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(rest)) return { name: rest };
  const expected = 'barbican:/directory (manifest on this host) or barbican:name (manifest in Barbican)';
  throw new KmsError('ERR_KMS_INVALID_URI', `expected ${expected}, found ${shownUri(uri)}`);
}
