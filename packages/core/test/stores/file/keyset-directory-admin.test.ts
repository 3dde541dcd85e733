// What must hold when a write fails, or the writer is not the only one.
import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { generateKey } from '../../../src/keyset/administration.ts';
import { exportKeyset, importKeyset } from '../../../src/keyset/backup.ts';
import type { KeysetAdmin } from '../../../src/keyset/keyset-source.ts';
import { openKeysetDirectory } from '../../../src/stores/file/index.ts';
import { patient } from '../../support/context.ts';
import { open } from '../../support/directories.ts';
import { runChild } from '../../support/run-child.ts';
import { watchedFs } from '../../support/watched-fs.ts';

const adminOf = (directory: string) => open(directory).admin!;

test('keys in a directory without a manifest keep a new keyset away, and nothing is written', async () => {
  const directory = newDirectory();
  writeFileSync(join(directory, 'lost.key'), Buffer.alloc(32), { mode: 0o600 });
  const error = await rejectsWithCode(() => generateKey(adminOf(directory)), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, join(directory, 'lost.key'));
  assert.equal(readdirSync(directory), ['lost.key']);
});

test('each file is synced before it is renamed, its directory after it, and the manifest is last', async () => {
  const directory = join(newDirectory(), 'keys');
  const log: string[] = [];
  const fs = watchedFs((operation, path) => {
    const kind = path === directory ? 'directory' : basename(path).includes('keyset.yaml') ? 'manifest' : 'blob';
    if (!path.includes('.lock')) log.push(`${operation} ${kind}`);
  });
  await generateKey(openKeysetDirectory(`file:${directory}`, { allowGroupRead: false }, { fs }).admin!);
  const steps = log.filter((step) => !/^(readFile|readdir|readlink|stat|chown|file.chown)/.test(step));
  const durable = (kind: string) => [
    `open ${kind}`,
    `file.writeFile ${kind}`,
    `file.sync ${kind}`,
    `file.close ${kind}`,
    `rename ${kind}`,
    'open directory',
    'file.sync directory',
    'file.close directory',
  ];
  // "blob" is here also what is none of the others: the new directory's parent.
  assert.equal(steps, [
    'mkdir directory',
    'open blob',
    'file.sync blob',
    'file.close blob',
    ...durable('blob'),
    ...durable('manifest'),
  ]);
});

test('nothing is left beside manifest and blobs', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  await generateKey(adminOf(directory));
  assert.is(readdirSync(directory).length, 3);
});

test('a write that fails leaves the old keyset and no temporary file', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  const before = readdirSync(directory);
  const fs = watchedFs((operation) => {
    if (operation === 'file.sync') throw Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO' });
  });
  const { admin } = openKeysetDirectory(`file:${directory}`, { allowGroupRead: false }, { fs });
  await rejectsWithCode(() => generateKey(admin!), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.equal(readdirSync(directory), before);
  (await open(directory).load(patient)).destroy();
});

test('while another process changes the keyset, a change is refused and says which process, until its lock is removed', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  symlinkSync(String(process.ppid), join(directory, '.lock'));
  const error = await rejectsWithCode(() => generateKey(adminOf(directory)), 'ERR_KMS_KEYSET_CONFLICT');
  assert.ok(error.message.includes(`process ${String(process.ppid)}`), error.message);
  execFileSync('/bin/sh', ['-c', `rm ${/remove (\S+)$/.exec(error.remedy!)![1]}`]);
  await generateKey(adminOf(directory));
});

test('a lock whose owner is dead is taken over', async () => {
  const directory = newDirectory();
  for (const owner of ['4194304999', 'nonsense', '0', '-1']) {
    symlinkSync(owner, join(directory, '.lock'));
    await generateKey(adminOf(directory));
    assert.not.ok(existsSync(join(directory, '.lock')));
  }
});

test('a lock that is not ours in kind is left alone', async () => {
  const directory = newDirectory();
  writeFileSync(join(directory, '.lock'), 'somebody else’s');
  await rejectsWithCode(() => generateKey(adminOf(directory)), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.ok(existsSync(join(directory, '.lock')));
});

test('a lock whose breaker died as well is taken over', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  symlinkSync('4194304999', join(directory, '.lock'));
  symlinkSync('4194304998', join(directory, '.lock.breaking'));
  await generateKey(adminOf(directory));
  assert.not.ok(existsSync(join(directory, '.lock.breaking')));
});

test('of two who take over the same dead lock one wins, and the other’s is not taken from it', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  symlinkSync('4194304999', join(directory, '.lock'));
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => generateKey(adminOf(directory))));
  const made = results.filter(({ status }) => status === 'fulfilled').length;
  assert.is((await adminOf(directory).readManifest())?.manifest.keys.length, 1 + made);
});

test('of many writers in one process each change is in the keyset or was refused', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  const results = await Promise.allSettled(Array.from({ length: 50 }, () => generateKey(adminOf(directory))));
  const keys = new Set((await adminOf(directory).readManifest())?.manifest.keys.map((key) => key.id));
  let made = 1;
  for (const result of results) {
    if (result.status === 'fulfilled') assert.ok(keys.has(result.value.keyId), 'a change was lost');
    else assert.ok(result.reason instanceof KmsError && result.reason.code === 'ERR_KMS_KEYSET_CONFLICT');
    if (result.status === 'fulfilled') made++;
  }
  assert.is(keys.size, made);
});

test('a change that comes too late is refused, and works when it is tried again', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  const other = adminOf(directory);
  const late: KeysetAdmin = {
    readManifest: async () => {
      const read = await other.readManifest();
      await generateKey(adminOf(directory));
      return read;
    },
    createKey: (...given) => other.createKey(...given),
    writeManifest: (...given) => other.writeManifest(...given),
    destroyKey: (...given) => other.destroyKey(...given),
  };
  const { remedy } = await rejectsWithCode(() => generateKey(late), 'ERR_KMS_KEYSET_CONFLICT');
  assert.is(remedy, 'run "teapot-kms keys list", and try again if the change is still wanted');
  await generateKey(other);
  assert.is((await other.readManifest())!.manifest.keys.length, 3);
});

test('a key that comes back takes the place of no other: what was under its name stays beside it', async () => {
  const directory = newDirectory();
  const admin = adminOf(directory);
  const { keyId } = await generateKey(admin);
  const { backup } = await exportKeyset(admin);
  const path = join(directory, `${keyId}.key`);
  const strays = [randomBytes(32), randomBytes(32)];
  for (const stray of strays) {
    writeFileSync(path, stray);
    assert.equal((await importKeyset(admin, backup)).restored, [keyId]);
    assert.equal(readFileSync(path), backup.keys.get(keyId)!.expose());
  }
  assert.equal(
    ['damaged', 'damaged-2'].map((name) => readFileSync(`${path}.${name}`)),
    strays,
  );
  (await open(directory).load(patient)).destroy();
});

test('of many processes that write at once no change is lost', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  const children = await Promise.all(Array.from({ length: 4 }, () => runChild('racing-writer.ts', [directory, '8'])));
  const keys = new Set((await adminOf(directory).readManifest())?.manifest.keys.map((key) => key.id));
  for (const { code, stdout, stderr } of children) {
    assert.is(code, 0, stderr);
    for (const keyId of stdout.trim().split('\n')) assert.ok(keys.has(keyId), 'a change was lost');
  }
  assert.is(keys.size, 33);
  (await open(directory).load(patient)).destroy();
});

test.run();
