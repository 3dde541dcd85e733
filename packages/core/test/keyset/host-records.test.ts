import { newDirectory } from '@teapot-kms/testing';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import nodeAssert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostRecords } from '../../src/keyset/host-records.ts';
import { manifestOf } from '../support/manifests.ts';

const SOCKET = '/run/teapot-kms/kms.sock';

test('nothing is remembered at first', async () => {
  assert.is(await new HostRecords(join(newDirectory(), 'state')).read(SOCKET), undefined);
});

test('what was written is read by the next process, for this instance alone', async () => {
  const directory = join(newDirectory(), 'state');
  const { contextId, hash, ...more } = manifestOf('promoted');
  await new HostRecords(directory).write(SOCKET, { ...more, contextId, generation: 7, hash });
  const record = (await new HostRecords(directory).read(SOCKET))!;
  assert.equal([record.contextId, record.generation, record.hash], [contextId, 7, hash]);
  assert.equal([record.primary, record.formers], ['key-0', []]);
  assert.is(await new HostRecords(directory).read('/run/another.sock'), undefined);
});

test('a record is readable by its owner alone, names its instance, and replaces the one before', async () => {
  const directory = newDirectory();
  const records = new HostRecords(directory);
  await records.write(SOCKET, manifestOf('promoted'));
  await records.write(SOCKET, { ...manifestOf('promoted'), generation: 2 });
  const [name, ...more] = readdirSync(directory);
  assert.equal(more, []);
  assert.is(statSync(join(directory, name!)).mode & 0o777, 0o600);
  assert.match(readFileSync(join(directory, name!), 'utf8'), SOCKET);
});

test('keys that were the primary are remembered, also those that the manifest no longer lists', async () => {
  const records = new HostRecords(newDirectory());
  const { keys, ...rest } = manifestOf('promoted', 'promoted', 'pending', 'retired');
  const first = { ...rest, keys };
  const second = {
    ...rest,
    primary: 'key-2',
    keys: keys.slice(2).map((key) => ({ ...key, state: 'promoted' as const })),
  };
  await records.write(SOCKET, first);
  const before = (await records.read(SOCKET))!;
  assert.equal(before.formers, ['key-1', 'key-3']);
  await records.write(SOCKET, second, before);
  assert.equal((await records.read(SOCKET))!.formers.toSorted(), ['key-0', 'key-1', 'key-3']);
  await records.write(SOCKET, first);
  assert.equal((await records.read(SOCKET))!.formers, ['key-1', 'key-3'], 'what an operator confirms is the truth');
});

test('a confirmation changes the record also where it confirms what is recorded; a later generation keeps it', async () => {
  const records = new HostRecords(newDirectory());
  const first = await records.write(SOCKET, manifestOf('promoted'));
  const later = await records.write(SOCKET, { ...manifestOf('promoted'), generation: 2 }, first);
  assert.is(later.confirmation, first.confirmation);
  assert.equal(await records.read(SOCKET), later, 'what is returned is what was written');
  assert.is.not((await records.write(SOCKET, manifestOf('promoted'))).confirmation, first.confirmation);
});

test('a record without the mark of a confirmation is read, and stays so', async () => {
  const directory = newDirectory();
  const records = new HostRecords(directory);
  await records.write(SOCKET, manifestOf('promoted'));
  const path = join(directory, readdirSync(directory)[0]!);
  writeFileSync(path, readFileSync(path, 'utf8').replace(/,"confirmation":"[0-9a-f]{32}"/, ''));
  const before = (await records.read(SOCKET))!;
  assert.is(before.confirmation, undefined);
  assert.is((await records.write(SOCKET, manifestOf('promoted'), before)).confirmation, undefined);
});

test('below a file there is no record', async () => {
  const file = join(newDirectory(), 'file');
  writeFileSync(file, '');
  assert.is(await new HostRecords(join(file, 'state')).read(SOCKET), undefined);
});

test('a damaged record is an error, never another record', async () => {
  const directory = newDirectory();
  const records = new HostRecords(directory);
  await records.write(SOCKET, manifestOf('promoted'));
  const path = join(directory, readdirSync(directory)[0]!);
  const text = readFileSync(path, 'utf8');
  for (const damaged of ['', '{}', text.slice(0, -5), text.replace('"generation":0', '"generation":-1')]) {
    writeFileSync(path, damaged);
    await nodeAssert.rejects(records.read(SOCKET));
  }
});

test.run();
