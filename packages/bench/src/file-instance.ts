import { generateKey, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { join } from 'node:path';
import type { PluginInstance } from './load/plugin.ts';

/** An instance of the plugin with a new keyset in a directory. */
export async function fileInstance(directory: string, name: string): Promise<PluginInstance> {
  const uri = `file:${join(directory, 'keys', name)}`;
  const provider = providerFor(uri);
  const source = provider.open(uri, provider.settings.parse({}), new SharedResources()) as KeysetSource;
  await generateKey(source.admin!);
  await source.close?.();
  return { name, keys: { uri } };
}
