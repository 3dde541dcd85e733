import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PinnedNode } from './pinned-node.ts';
import { root, sourceDateEpoch, version } from './release.ts';

interface Locked {
  readonly version: string;
  readonly license: string;
  readonly integrity: string;
  readonly dev?: boolean;
}

/** One of the programs and libraries that a package consists of. */
export interface Component {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly licence: string;
  readonly licenceText: string;
  readonly purl: string;
  readonly hash: { readonly alg: 'SHA-512' | 'SHA-256'; readonly content: string };
}

/**
 * Describes the packages in a bundle.
 * @param folders - such as `node_modules/pino`
 * @throws Error if the lock file does not have a package, or has it for development only
 */
export function npmComponents(folders: readonly string[]): Component[] {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked | undefined>;
  };
  return folders.map((folder) => {
    const locked = lock.packages[folder];
    if (!locked || locked.dev) throw new Error(`${folder} is no dependency of the plugin in package-lock.json`);
    const name = folder.replace(/^.*node_modules\//, '');
    const installed = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as { version: string };
    if (installed.version !== locked.version)
      throw new Error(`${folder}: expected ${locked.version} as in package-lock.json, found ${installed.version}`);
    return {
      name,
      version: locked.version,
      licence: locked.license,
      licenceText: licenceText(join(root, folder)),
      purl: `pkg:npm/${name.replace('@', '%40')}@${locked.version}`,
      hash: {
        alg: 'SHA-512',
        content: Buffer.from(locked.integrity.replace('sha512-', ''), 'base64').toString('hex'),
      },
    };
  });
}

export function nodeComponent(node: PinnedNode): Component {
  return {
    name: 'node',
    version: node.version,
    licence: 'MIT',
    licenceText: readFileSync(node.licence, 'utf8'),
    purl: `pkg:generic/nodejs@${node.version}`,
    hash: { alg: 'SHA-256', content: node.sha256 },
  };
}

function licenceText(folder: string): string {
  const name = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  if (name === undefined) throw new Error(`${folder} has no licence file`);
  return readFileSync(join(folder, name), 'utf8').trim();
}

/** A bill of materials (CycloneDX 1.6, JSON). The same components give the same bytes. */
export function billOfMaterials(components: readonly Component[]): string {
  const described = components.map(({ name, version, licence, purl, hash }) => ({
    type: name === 'node' ? 'application' : 'library',
    'bom-ref': purl,
    name,
    version,
    purl,
    // An expression is no SPDX id, and an id is an expression.
    licenses: [{ expression: licence }],
    hashes: [hash],
  }));
  const purl = `pkg:generic/teapot-kms@${version}`;
  const content = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: new Date(Number(sourceDateEpoch()) * 1_000).toISOString(),
      component: { type: 'application', 'bom-ref': purl, name: 'teapot-kms', version, purl },
    },
    components: described,
    dependencies: [{ ref: purl, dependsOn: described.map((one) => one.purl) }],
  };
  return `${JSON.stringify({ serialNumber: serialNumber(JSON.stringify(content)), ...content }, undefined, 2)}\n`;
}

/** A UUID of version 8, which stands for the content. */
function serialNumber(content: string): string {
  const hex = createHash('sha256').update(content).digest('hex');
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** All licences as a text: the list, and then each one's words. */
export function licenceList(components: readonly Component[]): string {
  const title = ({ name, version, licence }: Component) => `${name} ${version}: ${licence}`;
  const texts = components.map((one) => `${'='.repeat(80)}\n${title(one)}\n${'='.repeat(80)}\n${one.licenceText}\n`);
  return `Teapot KMS contains these programs and libraries:\n\n${components.map(title).join('\n')}\n\n${texts.join('\n')}`;
}
