import type { Finding, StoredManifest } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';
import { concrete } from './concrete.ts';
import { examineKeyStore } from './key-store.ts';
import { ownerFinding } from './keyset-owner.ts';
import { unreadableFiles } from './plugin-user.ts';
import type { PluginUser } from './plugin-user.ts';

/** The commands for keys manage the store that encrypts. */
const OF_THIS_STORE = '; FILE is a configuration in which this store is the "keys" of instance NAME';

/** Checks the stores of an instance that only decrypt. @param running - whether a plugin has loaded their keys */
export async function examineFormerStores(
  instance: InstanceConfig,
  user: PluginUser,
  running: boolean,
): Promise<{ readonly findings: readonly Finding[]; readonly manifests: readonly StoredManifest[] }> {
  const findings: Finding[] = [];
  const manifests: StoredManifest[] = [];
  for (const keys of instance.decryptOnly) {
    const view = { ...instance, keys, decryptOnly: [] };
    const examined = await examineKeyStore(view, true);
    if (examined.manifest) manifests.push(examined.manifest);
    const all = [
      ...examined.findings,
      ...(running ? [] : unreadableFiles(view, user)),
      ...(await ownerFinding(view, user.uid)),
    ];
    findings.push(
      ...all.map((one) => ({ ...one, ...(one.remedy !== undefined && { remedy: remedyOf(one.remedy, view) }) })),
    );
  }
  return { findings, manifests };
}

function remedyOf(remedy: string, view: InstanceConfig): string {
  const text = concrete(remedy, { ...view, name: 'NAME' }, 'FILE');
  return text.includes('--config FILE') ? text + OF_THIS_STORE : text;
}
