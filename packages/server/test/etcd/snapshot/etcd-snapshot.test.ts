import { KmsError } from '@teapot-kms/core';
import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { EtcdSnapshot } from '../../../src/etcd/snapshot/etcd-snapshot.ts';
import { writeSnapshot } from '../../support/bolt-writer.ts';
import type { BoltOptions, Revision } from '../../support/bolt-writer.ts';

/** Each run writes a file. */
const RUNS = Math.min(Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 1_000), 20_000);
const file = join(newDirectory(), 'snapshot.db');
const put = (revision: number, key: string, value = `v${revision}`): Revision => ({
  revision,
  key,
  value: Buffer.from(value),
});
const deletion = (revision: number, key: string): Revision => ({ revision, key });

interface Found {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
}

function read(path = file, prefix = '/registry/'): { found: Found[]; revision: number } {
  const snapshot = new EtcdSnapshot(path);
  try {
    const found: Found[] = [];
    for (const { key, value, modRevision } of snapshot.objects(prefix)) {
      found.push({ key: key.toString(), value: value.toString(), modRevision });
    }
    return { found: found.sort((a, b) => (a.key < b.key ? -1 : 1)), revision: snapshot.revision };
  } finally {
    snapshot.close();
  }
}

const refused = (path = file) => rejectsWithCode(() => read(path), 'ERR_KMS_SNAPSHOT_INVALID');

function written(revisions: Iterable<Revision>, options?: BoltOptions) {
  writeSnapshot(file, revisions, options);
  return read();
}

test('the newest value of each key, and the newest revision', () => {
  const { found, revision } = written([
    put(2, '/registry/a'),
    put(3, '/registry/b'),
    put(4, '/registry/a'),
    put(5, '/other'),
  ]);
  assert.equal(found, [
    { key: '/registry/a', value: 'v4', modRevision: 4 },
    { key: '/registry/b', value: 'v3', modRevision: 3 },
  ]);
  assert.is(revision, 5);
});

test('a deleted key is gone, and one that was created again is there', () => {
  const revisions = [
    put(2, '/registry/a'),
    put(3, '/registry/b'),
    deletion(4, '/registry/a'),
    deletion(5, '/registry/b'),
    put(6, '/registry/b'),
  ];
  assert.equal(written(revisions).found, [{ key: '/registry/b', value: 'v6', modRevision: 6 }]);
});

test('a snapshot without keys', () => {
  assert.equal(written([]), { found: [], revision: 0 });
});

for (const [what, options] of [
  ['pages of 512 bytes and a deep tree', { pageSize: 512, fanOut: 2 }],
  ['pages of 64 KiB', { pageSize: 65_536 }],
  ['no checksum', { checksum: false }],
] as const) {
  test(`${what}: as many objects as were written`, () => {
    const revisions = Array.from({ length: 500 }, (_, n) => put(n + 2, `/registry/secrets/default/s-${n % 400}`));
    const { found } = written(revisions, options);
    assert.is(found.length, 400);
    assert.is(found.find(({ key }) => key.endsWith('/s-7'))!.value, 'v409');
  });
}

test('a value that is larger than a page', () => {
  const value = 'x'.repeat(300_000);
  assert.is(written([put(2, '/registry/a', value), put(3, '/registry/b')]).found[0]!.value, value);
});

test('any history: the same objects as in a map', () => {
  const step = fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), fc.boolean(), fc.nat(700));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(512, 4_096), (steps, pageSize) => {
      const expected = new Map<string, Found>();
      const revisions = steps.map(([name, deleted, length], n): Revision => {
        const [revision, key, value] = [n + 2, `/registry/${name}`, 'x'.repeat(length)];
        if (deleted) expected.delete(key);
        else expected.set(key, { key, value, modRevision: revision });
        return deleted ? deletion(revision, key) : put(revision, key, value);
      });
      assert.equal(
        written(revisions, { pageSize, fanOut: 2 }).found,
        [...expected.values()].sort((a, b) => (a.key < b.key ? -1 : 1)),
      );
    }),
    { numRuns: 50 },
  );
});

test("etcdctl's checksum is checked, and the digest is that of the file", () => {
  written([put(2, '/registry/a')]);
  const snapshot = new EtcdSnapshot(file);
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
  assert.equal(snapshot.digest(), { sha256, verified: true });
  snapshot.close();
});

test('a copy of the database has no checksum, and a digest', () => {
  written([put(2, '/registry/a')], { checksum: false });
  const snapshot = new EtcdSnapshot(file);
  const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
  assert.equal(snapshot.digest(), { sha256, verified: false });
  snapshot.close();
});

test('a wrong checksum is refused', async () => {
  written([put(2, '/registry/a')]);
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(file, bytes);
  const snapshot = new EtcdSnapshot(file);
  await rejectsWithCode(() => snapshot.digest(), 'ERR_KMS_SNAPSHOT_INVALID');
  snapshot.close();
});

test('a file that is cut off, foreign or empty is refused, and a whole one is read', async () => {
  written(Array.from({ length: 100 }, (_, n) => put(n + 2, `/registry/${n}`)));
  truncateSync(file, readFileSync(file).length - 5_000);
  assert.match((await refused()).message, 'it is cut off');
  for (const content of ['', 'SQLite format 3\0', 'x'.repeat(100_000)]) {
    writeFileSync(file, content);
    assert.match((await refused()).message, 'it is no bbolt database');
  }
  assert.match((await refused()).remedy ?? '', 'use a whole file of "etcdctl snapshot save"');
  written([put(2, '/registry/a')]);
  assert.is(read().found.length, 1);
});

test('a file that is not there is an error of the file system', () => {
  assert.throws(() => new EtcdSnapshot('/nowhere/snapshot.db'), /ENOENT/);
});

test('one damaged meta is no loss, two are', async () => {
  written([put(2, '/registry/a')]);
  const bytes = readFileSync(file);
  const damaged = (...positions: number[]): Buffer => {
    const copy = Buffer.from(bytes);
    for (const at of positions) copy[at]! ^= 1;
    return copy;
  };
  for (const at of [20, 40, 75, 4_096 + 20, 4_096 + 40]) {
    writeFileSync(file, damaged(at));
    assert.is(read().found.length, 1, String(at));
  }
  writeFileSync(file, damaged(40, 4_096 + 40));
  await refused();
});

test('a database without etcd’s bucket is refused', async () => {
  writeSnapshot(file, [put(2, '/registry/a')], { bucket: 'other' });
  assert.match((await refused()).message, 'it has no bucket "key"');
});

test('revisions out of order are refused: the newest could not be told', async () => {
  writeSnapshot(file, [put(3, '/registry/a'), put(2, '/registry/a')]);
  assert.match((await refused()).message, 'out of order');
});

test('pages that form a cycle are refused', async () => {
  writeSnapshot(
    file,
    Array.from({ length: 200 }, (_, n) => put(n + 2, `/registry/${n}`)),
    { pageSize: 512, fanOut: 2, checksum: false },
  );
  const bytes = readFileSync(file);
  // The first child of each branch becomes the page itself.
  for (let at = 1_024; at < bytes.length; at += 512) {
    if (bytes.readUInt16LE(at + 8) === 0x01) bytes.writeBigUInt64LE(BigInt(at / 512), at + 24);
  }
  writeFileSync(file, bytes);
  assert.match((await refused()).message, /cycle|too deep|out of order/);
});

test('changed bytes are read or refused, with one error code, and the reader ends', () => {
  writeSnapshot(
    file,
    Array.from({ length: 60 }, (_, n) => put(n + 2, `/registry/${n}`)),
    { pageSize: 512, fanOut: 3, checksum: false },
  );
  const whole = readFileSync(file);
  const changed = join(newDirectory(), 'changed.db');
  // Beyond the metas, which have checksums.
  const change = fc.tuple(fc.integer({ min: 1_024, max: whole.length - 1 }), fc.nat(255));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
      const bytes = Buffer.from(whole);
      for (const [at, byte] of changes) bytes[at] = byte;
      writeFileSync(changed, bytes);
      try {
        read(changed);
      } catch (error) {
        assert.ok(
          error instanceof KmsError && error.code === 'ERR_KMS_SNAPSHOT_INVALID',
          String((error as Error).stack),
        );
      }
    }),
    { numRuns: RUNS },
  );
});

test.run();
