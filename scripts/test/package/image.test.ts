/** The OCI image that `npm run package -- image` has made. */
import { until } from '@teapot-kms/testing';
import { Daemon, launcher } from '@teapot-kms/testing/daemons';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compileLauncher } from '../../package/image/image.ts';
import { layerOf } from '../../package/image/layer.ts';
import { readLayers, writeImage } from '../../package/image/oci.ts';
import { architecture, root, version } from '../../package/release.ts';

const [archive = ''] = globSync(join(root, `dist/teapot-kms-*-image-${architecture.debian}.tar`));
const test = suite('image');
const MAX_MB = 60;
const USER = '65532:65532';

interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}
interface Config {
  architecture: string;
  os: string;
  config: { User: string; Entrypoint: string[]; Cmd: string[]; Env: string[]; Labels: Record<string, string> };
  rootfs: { diff_ids: string[] };
}

const scratch = mkdtempSync(join(tmpdir(), 'teapot-image-'));
const layout = join(scratch, 'layout');
const rootfs = join(scratch, 'root');
const data = join(scratch, 'data');
let manifest: { config: Descriptor; layers: Descriptor[] };
let config: Config;

const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const json = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));
const index = () => (json(join(layout, 'index.json')) as { manifests: Descriptor[] }).manifests;
const blob = ({ digest }: Pick<Descriptor, 'digest'>): string => join(layout, 'blobs', digest.replace(':', '/'));
const inImage = (...command: string[]): string[] => [
  join(import.meta.dirname, 'image-root.sh'),
  rootfs,
  USER,
  data,
  ...command,
];
const run = (...command: string[]) => spawnSync('bash', inImage(...command), { encoding: 'utf8' });

test.before(() => {
  for (const directory of [layout, rootfs, data]) mkdirSync(directory);
  execFileSync('tar', ['-xf', archive, '-C', layout]);
  const [described] = index();
  manifest = json(blob(described!)) as typeof manifest;
  config = json(blob(manifest.config)) as Config;
  makeData();
  for (const layer of manifest.layers) execFileSync('tar', ['--numeric-owner', '-xpzf', blob(layer), '-C', rootfs]);
});
test.after(() => rmSync(scratch, { recursive: true, force: true }));

test('the layout names each blob by its digest and size, and has no other file', () => {
  const [described] = index();
  assert.equal(json(join(layout, 'oci-layout')), { imageLayoutVersion: '1.0.0' });
  assert.is(index().length, 1);
  const descriptors = [described!, manifest.config, ...manifest.layers];
  for (const { digest, size } of descriptors) {
    const bytes = readFileSync(blob({ digest }));
    assert.is(sha256(bytes), digest);
    assert.is(bytes.length, size);
  }
  const files = globSync('**', { cwd: layout, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.is(files.length, descriptors.length + 2);
  assert.is(described!.annotations?.['io.containerd.image.name'], `localhost/teapot-kms:${version}`);
});

test('the configuration has the digest of each unpacked layer, a user that is not root, and labels', () => {
  const unpacked = manifest.layers.map((layer) =>
    sha256(execFileSync('gzip', ['-dc', blob(layer)], { maxBuffer: 2 ** 28 })),
  );
  assert.equal(config.rootfs.diff_ids, unpacked);
  assert.equal([config.architecture, config.os, config.config.User], [architecture.debian, 'linux', USER]);
  assert.is(config.config.Labels['org.opencontainers.image.version'], version);
  assert.is(config.config.Labels['org.opencontainers.image.licenses'], 'Apache-2.0');
});

test(`it has at most ${MAX_MB} MB, compressed`, () => {
  const megabytes = statSync(archive).size / 1e6;
  console.log(`FIGURE the image: ${megabytes.toFixed(1)} MB`);
  assert.ok(megabytes <= MAX_MB);
});

test('there is no shell, no package manager, no setuid program, and nothing of another that anyone may write', () => {
  for (const path of ['bin', 'usr/bin/sh', 'usr/bin/dash', 'usr/bin/bash', 'usr/bin/dpkg', 'usr/bin/apt-get'])
    assert.equal(globSync(path, { cwd: rootfs }), [], path);
  const find = (...test: string[]) =>
    execFileSync('find', [rootfs, '-xdev', ...test, '-printf', '%P\\n'], { encoding: 'utf8' });
  assert.is(find('-perm', '/6000'), '');
  assert.is(find('!', '-type', 'l', '-perm', '-0002', '!', '-perm', '-1000'), '');
});

test('the same layers give the same bytes, and an image is a base that can be read', async () => {
  const layers = await readLayers(archive);
  assert.equal(
    layers.map(({ diffId }) => diffId),
    config.rootfs.diff_ids,
  );
  const entries = [
    { path: 'b/c', mode: 0o600, owner: 65_532, content: Buffer.from('text') },
    { path: 'a', mode: 0o777, target: 'b/c' },
  ];
  const [once, again] = [await layerOf(entries), await layerOf([...entries].reverse())];
  assert.equal(once, again);
  const write = async (name: string) =>
    writeImage({ created: '2026-01-01T00:00:00Z', config: {}, layers: [once] }, join(scratch, name));
  assert.is(await write('1.tar'), await write('2.tar'));
  assert.ok(readFileSync(join(scratch, '1.tar')).equals(readFileSync(join(scratch, '2.tar'))));
});

test('a base whose blob was changed is refused', async () => {
  const changed = join(scratch, 'changed');
  cpSync(layout, changed, { recursive: true });
  writeFileSync(join(changed, 'blobs', manifest.layers[0]!.digest.replace(':', '/')), 'other');
  execFileSync('tar', ['-cf', join(scratch, 'changed.tar'), '-C', changed, '.']);
  try {
    await readLayers(join(scratch, 'changed.tar'));
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, 'has other content');
  }
});

test('its launcher runs Node as the launcher of the other packages does', () => {
  const compiled = join(scratch, 'launcher');
  compileLauncher(compiled, { node: '/bin/echo', main: 'MAIN' });
  for (const args of [['serve', '--config', 'a file'], ['scan', '--help'], []]) {
    const shell = execFileSync(launcher(), args, {
      encoding: 'utf8',
      env: { ...process.env, TEAPOT_KMS_NODE: '/bin/echo' },
    });
    assert.is(execFileSync(compiled, args, { encoding: 'utf8' }), shell.replace(/\S+main\.js/, 'MAIN'));
  }
});

function makeData(): void {
  for (const name of ['etc', 'run', 'lib', 'lib/state']) {
    mkdirSync(join(data, name), { mode: 0o700 });
    chownSync(join(data, name), 65_532, 65_532);
  }
  writeFileSync(
    join(data, 'etc/config.yaml'),
    `version: 1
http: { socket: /run/teapot-kms/http.sock }
instances:
  - name: main
    socket: /run/teapot-kms/main/kms.sock
    keys: { uri: 'file:/var/lib/teapot-kms/main' }
`,
    { mode: 0o644 },
  );
}

const withRoot: typeof test = process.getuid?.() === 0 ? test : suite('');
if (withRoot !== test) console.log('SKIPPED a container of the image: run the tests as root');

withRoot(
  'a container makes a key and serves with it, as its user, with a read-only root and no core dumps',
  async () => {
    const program = config.config.Entrypoint;
    const made = run(...program, 'keys', 'generate', '--uri', 'file:/var/lib/teapot-kms/main');
    assert.is(made.status, 0, made.stderr);
    const logFile = join(scratch, 'serve.log');
    const args = inImage(...program, ...config.config.Cmd);
    const daemon = new Daemon({ name: 'the image', command: 'bash', args, logFile });
    try {
      await until('Status is ok', () => {
        daemon.checkRunning();
        return run(...program, 'status', '--socket', '/run/teapot-kms/main/kms.sock').status === 0;
      });
      const node = globSync('/proc/[0-9]*').find(isServing);
      assert.ok(node);
      const read = (file: string): string => readFileSync(join(node, file), 'utf8');
      assert.match(read('status'), /^Uid:\s+65532\s+65532/m);
      assert.match(read('status'), /^CapEff:\s+0+$/m);
      assert.match(read('limits'), /^Max core file size\s+0\s+0/m);
    } finally {
      // The kernel does not pass the end of the parent on to a process that has changed its user (prctl(2)).
      const node = globSync('/proc/[0-9]*').find(isServing);
      if (node !== undefined) process.kill(Number(basename(node)), 'SIGKILL');
      await daemon.kill();
    }
  },
);

/** Whether a process, by its directory in /proc, is the plugin of this image. */
function isServing(process: string): boolean {
  try {
    return (
      readlinkSync(`${process}/root`) === rootfs && readFileSync(`${process}/cmdline`, 'utf8').includes('\0serve\0')
    );
  } catch {
    // It has ended.
    return false;
  }
}

withRoot('a container checks its configuration', () => {
  const { status, stderr } = run(
    ...config.config.Entrypoint,
    'config',
    'validate',
    '--config',
    '/etc/teapot-kms/config.yaml',
  );
  assert.is(status, 0, stderr);
});

if (archive === '') console.log('SKIPPED the image: npm run package -- image');
else test.run();
