// What must hold when the writer dies at any point, or is not the only one.
import { cpSync, existsSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeEnvelope } from '../../src/envelope/codec.ts';
import { KmsError } from '../../src/errors.ts';
import { generateKey, promoteKey, retireKey } from '../../src/keyset/administration.ts';
import type { Manifest } from '../../src/keyset/manifest.ts';
import { openKeysetDirectory } from '../../src/providers/file.ts';
import { rejectsWithCode } from '../../src/testing/index.ts';
import { patient } from '../support/context.ts';
import { newDirectory, open } from '../support/directories.ts';
import { figure } from '../support/figure.ts';
import { runChild } from '../support/run-child.ts';
import { watchedFs } from '../support/watched-fs.ts';

const adminOf = (directory: string) => open(directory).admin!;

/** Which keys there are in which state, without ids and times that differ from run to run. */
const shapeOf = (manifest: Manifest | undefined) =>
  manifest && [manifest.keys.findIndex((key) => key.id === manifest.primary), ...manifest.keys.map((key) => key.state)];

interface Case {
  readonly command: string;
  readonly prepare: (directory: string) => Promise<string>;
  readonly after: readonly (number | string)[];
}

const cases: Case[] = [
  { command: 'generate', prepare: () => Promise.resolve(''), after: [0, 'promoted'] },
  {
    command: 'generate',
    prepare: async (directory) => (await generateKey(adminOf(directory))).keyId,
    after: [0, 'promoted', 'pending'],
  },
  {
    command: 'promote',
    prepare: async (directory) => {
      await generateKey(adminOf(directory));
      return (await generateKey(adminOf(directory))).keyId;
    },
    after: [1, 'promoted', 'promoted'],
  },
  {
    command: 'retire',
    prepare: async (directory) => {
      const { keyId } = await generateKey(adminOf(directory));
      await promoteKey(adminOf(directory), (await generateKey(adminOf(directory))).keyId, { minPendingMs: 0 });
      return keyId;
    },
    after: [1, 'retired', 'promoted'],
  },
  {
    command: 'destroy',
    prepare: async (directory) => {
      const { keyId } = await generateKey(adminOf(directory));
      await promoteKey(adminOf(directory), (await generateKey(adminOf(directory))).keyId, { minPendingMs: 0 });
      await retireKey(adminOf(directory), keyId);
      return keyId;
    },
    after: [0, 'promoted'],
  },
];

for (const { command, prepare, after } of cases) {
  test(`a writer killed at any operation of ${command} (to ${after.join(' ')}) leaves the old keyset or the new one`, async () => {
    const template = join(newDirectory(), 'keys');
    const keyId = await prepare(template);
    const before = shapeOf((await adminOf(template).readManifest())?.manifest);
    const old = before && (await open(template).load(patient));
    const envelope = old?.primary.seal(Buffer.from('sealed before'));
    let [kills, done] = [0, false];

    const killAt = async (n: number) => {
      const directory = join(newDirectory(), 'keys');
      if (existsSync(template)) cpSync(template, directory, { recursive: true });
      const { signal, code, stderr } = await runChild('crashing-writer.ts', [directory, String(n), command, keyId]);
      if (code === 0) done = true;
      else if (signal === 'SIGKILL') kills++;
      else throw new Error(stderr);
      const what = `${command}, killed at ${String(n)}`;
      const shape = shapeOf((await adminOf(directory).readManifest())?.manifest);
      const isNew = JSON.stringify(shape) === JSON.stringify(after);
      if (code === 0) assert.ok(isNew, what);
      else assert.ok(isNew || JSON.stringify(shape) === JSON.stringify(before), `${what}: ${JSON.stringify(shape)}`);
      if (shape) {
        const keyset = await open(directory).load(patient);
        if (envelope && !(isNew && (command === 'retire' || command === 'destroy'))) {
          const found = decodeEnvelope(envelope);
          assert.is(keyset.find(found.keyId).open(found).toString(), 'sealed before', what);
        }
      }
      // The next writer goes on, whatever the dead one left behind.
      const { keyId: next } = await generateKey(adminOf(directory));
      const keyset = await open(directory).load(patient);
      assert.is(keyset.find(next).keyId, next, what);
      assert.not.ok(existsSync(join(directory, '.lock')), what);
    };

    for (let n = 1; !done; n += 3) await Promise.all([killAt(n), killAt(n + 1), killAt(n + 2)]);
    assert.ok(kills >= 8, String(kills));
    figure(`crash test ${command} to "${after.join(' ')}": killed at each of ${String(kills)} operations`);
  });
}

test('each file is synced before it is renamed, its directory after it, and the manifest is last', async () => {
  const directory = join(newDirectory(), 'keys');
  const log: string[] = [];
  const fs = watchedFs((operation, path) => {
    const kind = path === directory ? 'directory' : basename(path).includes('keyset.yaml') ? 'manifest' : 'blob';
    if (!path.includes('.lock')) log.push(`${operation} ${kind}`);
  });
  await generateKey(openKeysetDirectory(`file:${directory}`, { allowGroupRead: false }, fs).admin!);
  const steps = log.filter((step) => !/^(readFile|readlink)/.test(step));
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
  const { admin } = openKeysetDirectory(`file:${directory}`, { allowGroupRead: false }, fs);
  await rejectsWithCode(() => generateKey(admin!), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.equal(readdirSync(directory), before);
  (await open(directory).load(patient)).destroy();
});

test('while another process changes the keyset, a change is refused and says which process', async () => {
  const directory = newDirectory();
  await generateKey(adminOf(directory));
  symlinkSync(String(process.ppid), join(directory, '.lock'));
  const error = await rejectsWithCode(() => generateKey(adminOf(directory)), 'ERR_KMS_KEYSET_CONFLICT');
  assert.ok(error.message.includes(`process ${String(process.ppid)}`), error.message);
  assert.ok(error.message.includes(join(directory, '.lock')), error.message);
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
