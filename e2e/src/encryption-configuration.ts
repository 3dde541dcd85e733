import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { teapot } from './teapot-cli.ts';

export type KmsVersion = 'v1' | 'v2';

/** By the plugin, or with a key that lies beside kube-apiserver in its configuration: what there is without a KMS. */
export type EncryptionProvider = KmsVersion | 'secretbox';

/** Some resources, and the providers for them: the first one writes, all of them read. */
export interface EncryptedResources {
  readonly resources: readonly string[];
  readonly providers: readonly [EncryptionProvider, ...EncryptionProvider[]];
}

/** Stays the same while this process runs, so that a configuration can be written again. */
const secretboxKey = randomBytes(32);

/**
 * What `teapot-kms config encryption-configuration` prints, to the letter where there is one provider. Where there are
 * more, their entries are put together as the operator's guide describes.
 */
export async function encryptionConfiguration(
  configFile: string,
  entries: readonly EncryptedResources[],
): Promise<string> {
  const printed = (version: KmsVersion, resources: readonly string[]): Promise<string> =>
    teapot([
      'config',
      'encryption-configuration',
      '--config',
      configFile,
      '--kms-version',
      version,
      '--resource',
      ...resources,
    ]);
  const [first] = entries;
  if (first !== undefined && entries.length === 1 && first.providers.length === 1) {
    const [only] = first.providers;
    if (only !== 'secretbox') return printed(only, first.resources);
  }
  const lines = ['apiVersion: apiserver.config.k8s.io/v1', 'kind: EncryptionConfiguration', 'resources:'];
  for (const { resources, providers } of entries) {
    lines.push(`  - resources: [${resources.join(', ')}]`, '    providers:');
    for (const provider of providers) {
      lines.push(provider === 'secretbox' ? secretboxEntry() : kmsEntry(await printed(provider, resources)));
    }
    lines.push('      - identity: {}');
  }
  return `${lines.join('\n')}\n`;
}

function secretboxEntry(): string {
  rememberSecret(secretboxKey);
  return `      - secretbox: { keys: [{ name: local, secret: ${secretboxKey.toString('base64')} }] }`;
}

function kmsEntry(yaml: string): string {
  const entry = /^ {6}- kms:\n(?: {8,}.*\n)+/m.exec(yaml)?.[0];
  if (entry === undefined) throw new Error(`no "- kms:" in what the CLI printed:\n${yaml}`);
  return entry.trimEnd();
}
