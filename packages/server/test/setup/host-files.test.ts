import { KmsError } from '@teapot-kms/core';
import { newDirectory } from '@teapot-kms/testing';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostFiles } from '../../src/setup/host-files.ts';

function newHost() {
  const root = newDirectory();
  const manifestDirectory = join(root, 'manifests');
  mkdirSync(manifestDirectory);
  const publicFile = join(root, 'etc/config.yaml');
  const files = new HostFiles({
    manifestDirectory,
    backupDirectory: join(root, 'backup'),
    publicFiles: [publicFile],
  });
  return { root, manifestDirectory, publicFile, files };
}
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

test('a file keeps its mode, and a new one is for its owner only', async () => {
  const { root, files } = newHost();
  const path = join(root, 'old');
  writeFileSync(path, 'a');
  chmodSync(path, 0o640);
  await files.write(path, 'b');
  await files.write(join(root, 'new/file'), 'c');
  assert.equal([await files.read(path), modeOf(path)], ['b', '640']);
  assert.equal([modeOf(join(root, 'new')), modeOf(join(root, 'new/file'))], ['700', '600']);
});

test("the plugin's user can read its configuration, whatever the umask", async () => {
  const { publicFile, root, files } = newHost();
  const umask = process.umask(0o077);
  try {
    await files.write(publicFile, 'version: 1\n');
  } finally {
    process.umask(umask);
  }
  assert.equal([modeOf(join(root, 'etc')), modeOf(publicFile)], ['755', '644']);
});

test('in the directory of the manifests there is never another file, also not for a moment', async () => {
  const { manifestDirectory, files } = newHost();
  const path = join(manifestDirectory, 'kube-apiserver.yaml');
  const seen = new Set<string | null>();
  const watcher = watch(manifestDirectory, (_, name) => seen.add(name));
  const closed = new Promise((resolve) => watcher.once('close', resolve));
  await files.write(path, 'a');
  await files.write(path, 'b');
  // Events come in the order of what happened: after this one, all others are there.
  await new Promise<void>((resolve) => {
    watcher.on('change', (_, name) => name === 'last' && resolve());
    writeFileSync(join(manifestDirectory, 'last'), '');
  });
  watcher.close();
  await closed;
  assert.equal([...seen].toSorted(), ['kube-apiserver.yaml', 'last']);
  assert.is(readFileSync(path, 'utf8'), 'b');
});

test('nothing is left beside a file', async () => {
  const { root, files } = newHost();
  await files.write(join(root, 'dir/file'), 'a');
  await files.write(join(root, 'dir/file'), 'b');
  assert.equal(readdirSync(join(root, 'dir')), ['file']);
});

test('what a kill has left is swept away, and nothing else', async () => {
  const { root, files } = newHost();
  const path = join(root, 'dir/config.yaml');
  await files.write(path, 'a');
  await files.write(join(root, 'backup/journal.json'), 'a');
  const left = ['dir/.config.yaml.0123456789ab.tmp', 'backup/.kube-apiserver.yaml.0123456789ab.tmp'];
  const others = ['dir/.other.yaml.0123456789ab.tmp', 'dir/.config.yaml.tmp'];
  for (const name of [...left, ...others]) writeFileSync(join(root, name), 'secret');
  await files.sweep([path, join(root, 'missing/file')]);
  assert.equal(readdirSync(join(root, 'dir')).toSorted(), [
    '.config.yaml.tmp',
    '.other.yaml.0123456789ab.tmp',
    'config.yaml',
  ]);
  assert.equal(readdirSync(join(root, 'backup')), ['journal.json']);
});

test('a link stays one', async () => {
  const { root, files } = newHost();
  writeFileSync(join(root, 'real'), 'a');
  symlinkSync('real', join(root, 'link'));
  await files.write(join(root, 'link'), 'b');
  assert.is(readlinkSync(join(root, 'link')), 'real');
  assert.is(readFileSync(join(root, 'real'), 'utf8'), 'b');
});

test('what is missing has no text, and can be removed again', async () => {
  const { root, files } = newHost();
  assert.is(await files.read(join(root, 'none')), undefined);
  await files.remove(join(root, 'none'));
  await files.remove(join(root, 'no-directory/none'));
});

test('what is no file, or too long, is refused', async () => {
  const { root, files } = newHost();
  writeFileSync(join(root, 'long'), Buffer.alloc(2 * 1024 * 1024 + 1));
  try {
    await files.read(join(root, 'long'));
    assert.unreachable();
  } catch (error) {
    assert.instance(error, KmsError);
    assert.is((error as KmsError).code, 'ERR_KMS_INVALID_REQUEST');
  }
});

test.run();
