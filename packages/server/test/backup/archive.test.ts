import { KmsError, SecretBytes } from '@teapot-kms/core';
import * as fc from 'fast-check';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { packKeyset, unpackKeyset } from '../../src/backup/archive.ts';

const directory = mkdtempSync(join(tmpdir(), 'teapot-backup-'));
test.after(() => rmSync(directory, { recursive: true }));

const manifest = 'formatVersion: 2\n';
const key = randomBytes(32);
const backup = { manifest, keys: new Map([['k1', new SecretBytes(Buffer.from(key))]]) };

const errorOf = async (archive: Uint8Array): Promise<KmsError | undefined> => {
  try {
    await unpackKeyset(archive);
    return undefined;
  } catch (error) {
    if (error instanceof KmsError) return error;
    throw error;
  }
};

test('what is packed comes back', async () => {
  const back = await unpackKeyset(await packKeyset(backup));
  assert.is(back.manifest, manifest);
  assert.equal(
    [...back.keys].map(([id, bytes]) => [id, bytes.expose()]),
    [['k1', key]],
  );
});

test('tar opens it, with the modes of a keyset directory', async () => {
  const file = join(directory, 'packed.tar');
  writeFileSync(file, await packKeyset(backup));
  const out = join(directory, 'out');
  mkdirSync(out);
  execFileSync('tar', ['-x', '-f', file, '-C', out]);
  assert.equal(readFileSync(join(out, 'k1.key')), key);
  assert.is(statSync(join(out, 'k1.key')).mode & 0o777, 0o600);
  assert.is(readFileSync(join(out, 'keyset.yaml'), 'utf8'), manifest);
});

test('a keyset directory that tar has packed is read', async () => {
  const main = join(directory, 'main');
  mkdirSync(main);
  writeFileSync(join(main, 'keyset.yaml'), manifest);
  writeFileSync(join(main, 'k1.key'), key);
  const archive = execFileSync('tar', ['-c', '-C', directory, 'main']);
  const { keys } = await unpackKeyset(archive);
  assert.equal(keys.get('k1')!.expose(), key);
});

test('two copies of the same keyset are the same bytes', async () => {
  assert.equal(await packKeyset(backup), await packKeyset(backup));
});

for (const [what, files] of [
  ['no manifest', [['k1.key', key]]],
  [
    'another file',
    [
      ['keyset.yaml', Buffer.from(manifest)],
      ['notes.txt', Buffer.from('x')],
    ],
  ],
  [
    'a name that is no key id',
    [
      ['keyset.yaml', Buffer.from(manifest)],
      ['UPPER CASE.key', key],
    ],
  ],
] as const) {
  test(`an archive with ${what} is refused`, async () => {
    const from = mkdtempSync(join(directory, 'bad-'));
    for (const [name, bytes] of files) writeFileSync(join(from, name), bytes);
    const archive = execFileSync('tar', ['-c', '-C', from, ...files.map(([name]) => name)]);
    const { code, remedy } = (await errorOf(archive))!;
    assert.is(code, 'ERR_KMS_KEYSET_INVALID');
    assert.match(remedy ?? '', 'the archive that "teapot-kms keys export" writes');
  });
}

test('any bytes are a keyset or refused, never another error', async () => {
  const whole = await packKeyset(backup);
  const damaged = fc.tuple(fc.nat(whole.length - 1), fc.nat(255)).map(([at, byte]) => {
    const copy = Buffer.from(whole);
    copy[at] = byte;
    return copy;
  });
  const cut = fc.nat(whole.length).map((length) => whole.subarray(0, length));
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 2048 }), damaged, cut), async (bytes) => {
      assert.ok([undefined, 'ERR_KMS_KEYSET_INVALID'].includes((await errorOf(bytes))?.code));
    }),
    { numRuns: 500 },
  );
});

test.run();
