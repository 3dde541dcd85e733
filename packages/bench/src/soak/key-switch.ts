import { destroyRetiredKey, generateKey, promoteKey, providerFor, retireKey, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { until } from '@teapot-kms/testing';
import type { SoakTenant } from './tenant.ts';

/**
 * Rotates the key of a tenant to the end: a new key, all objects rewritten, the old keys destroyed.
 *
 * @param uri - of the tenant's keyset
 */
export async function switchKey(uri: string, tenant: SoakTenant): Promise<void> {
  const source = providerFor(uri).open(uri, {}, new SharedResources()) as KeysetSource;
  const { admin } = source;
  if (!admin) throw new Error(`${uri} cannot be changed`);
  try {
    const { keyId } = await generateKey(admin);
    await promoteKey(admin, keyId);
    await until(
      `all is written under ${keyId}`,
      async () => {
        await tenant.rewrite();
        return [...tenant.keyIds].every((id) => id === keyId);
      },
      { everyMs: 100 },
    );
    const { manifest } = (await admin.readManifest())!;
    for (const { id } of manifest.keys) {
      if (id === keyId) continue;
      await retireKey(admin, id);
      // A key that a manifest does not list at all stays in memory.
      await tenant.untilRetired(id);
      await destroyRetiredKey(admin, id, { graceMs: 0 });
    }
  } finally {
    await source.close?.();
  }
}
