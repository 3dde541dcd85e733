import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PinnedNode } from '../pinned-node.ts';
import { root, sourceDateEpoch, version } from '../release.ts';
import { entriesIn, layerOf } from './layer.ts';
import type { Entry, Layer } from './layer.ts';
import { readLayers, writeImage } from './oci.ts';

/** The user and group that the plugin runs as. Images without a shell call it `nonroot`. */
const USER = 65_532;
const HOME = 'usr/lib/teapot-kms';

interface Content {
  /** What `writeBundle` has written. */
  readonly bundle: string;
  readonly node: PinnedNode;
  readonly licences: string;
  readonly billOfMaterials: string;
}

/**
 * Writes the OCI image. `TEAPOT_KMS_IMAGE_BASE` is the OCI archive of another base, which must have glibc 2.34, libstdc++,
 * libgcc and libatomic; without it, the base is made of Debian packages.
 * @param scratch - an empty directory
 * @returns the digest of the manifest
 */
export async function makeImage(scratch: string, file: string, content: Content): Promise<string> {
  mkdirSync(scratch, { recursive: true });
  const base = process.env['TEAPOT_KMS_IMAGE_BASE'];
  const { layers, name } =
    base === undefined ? await debianBase(join(scratch, 'base')) : { layers: await readLayers(base), name: base };
  // Node is a layer of its own, which most upgrades do not change.
  const node = await layerOf([{ path: `${HOME}/bin/node`, mode: 0o755, content: readFileSync(content.node.binary) }]);
  const program = await layerOf(programOf(scratch, content));
  return writeImage({ created: created(), config: configuration(name), layers: [...layers, node, program] }, file);
}

const created = (): string => new Date(Number(sourceDateEpoch()) * 1_000).toISOString();

async function debianBase(directory: string): Promise<{ layers: Layer[]; name: string }> {
  const script = join(import.meta.dirname, 'debian-base.sh');
  const packages = execFileSync('bash', [script, directory], { encoding: 'utf8' }).trim().split('\n');
  const layers = [await layerOf(entriesIn(directory))];
  return { layers, name: `Debian packages: ${packages.join(', ')}` };
}

function programOf(scratch: string, { bundle, licences, billOfMaterials }: Content): Entry[] {
  const documents = 'usr/share/doc/teapot-kms';
  const text = (path: string, content: string): Entry => ({ path, mode: 0o644, content: Buffer.from(content) });
  const launcher = join(scratch, 'teapot-kms');
  compileLauncher(launcher, { node: `/${HOME}/bin/node`, main: `/${HOME}/dist/cli/main.js` });
  const ours = ['etc/teapot-kms', 'run/teapot-kms', 'var/lib/teapot-kms', 'var/lib/teapot-kms/state'];
  return [
    ...entriesIn(join(bundle, 'dist'), `${HOME}/dist`),
    { path: 'usr/bin/teapot-kms', mode: 0o755, content: readFileSync(launcher) },
    text(
      `${documents}/copyright`,
      `Teapot KMS is under the licence that follows. LICENSES has all others.\n\n${readFileSync(join(root, 'LICENSE'), 'utf8')}`,
    ),
    text(`${documents}/LICENSES`, licences),
    text(`${documents}/teapot-kms.cdx.json`, billOfMaterials),
    // A volume that is mounted here without an owner of its own gets this one.
    ...ours.map((path): Entry => ({ path, mode: 0o700, owner: USER })),
  ];
}

/** Compiles the launcher for an image without a shell, with the flags of the launcher that has one. */
export function compileLauncher(file: string, { node, main }: { node: string; main: string }): void {
  const shell = readFileSync(join(root, 'packages/server/bin/teapot-kms'), 'utf8');
  const flags = (name: string): string => {
    const [, words] = new RegExp(`\\b${name}='([^']+)'`).exec(shell) ?? [];
    if (words === undefined) throw new Error(`the launcher bin/teapot-kms has no ${name}='...'`);
    return words
      .split(' ')
      .map((word) => JSON.stringify(word))
      .join(',');
  };
  const defines = {
    NODE: JSON.stringify(node),
    MAIN: JSON.stringify(main),
    FLAGS: flags('FLAGS'),
    SCAN_FLAGS: flags('MORE'),
  };
  execFileSync('gcc', [
    ...['-Os', '-s', '-Wall', '-Wextra', '-Werror', '-D_FORTIFY_SOURCE=2', '-fstack-protector-strong', '-pie', '-fPIE'],
    ...['-Wl,-z,relro,-z,now,--build-id=none', '-o', file],
    ...Object.entries(defines).map(([name, value]) => `-D${name}=${value}`),
    join(import.meta.dirname, 'launcher.c'),
  ]);
}

/** What a container runtime needs to know; `config` in config.md of the image format. */
function configuration(base: string): object {
  return {
    User: `${USER}:${USER}`,
    Env: ['PATH=/usr/bin'],
    Entrypoint: ['/usr/bin/teapot-kms'],
    Cmd: ['serve', '--config', '/etc/teapot-kms/config.yaml'],
    WorkingDir: '/',
    Labels: {
      'org.opencontainers.image.title': 'teapot-kms',
      'org.opencontainers.image.description':
        'Kubernetes KMS plugin: encrypts the Secrets in etcd with a key that is not in etcd',
      'org.opencontainers.image.version': version,
      'org.opencontainers.image.created': created(),
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.base.name': base,
    },
  };
}
