// Something else is in the place of a file of a keyset: a link, a FIFO, a directory, or nothing.
import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { KmsError, KmsErrorCode } from '../../../src/errors.ts';
import { generateKey } from '../../../src/keyset/administration.ts';
import { patient } from '../../support/context.ts';
import { makeKeyset, open, primaryOf, writeWithMode } from '../../support/directories.ts';
import { newKeyBytes } from '../../support/keys.ts';

test('a symbolic link in the place of a blob is not followed', async () => {
  const { directory, blob } = await makeKeyset();
  const elsewhere = join(newDirectory(), 'elsewhere');
  writeWithMode(elsewhere, newKeyBytes(), 0o600);
  rmSync(blob);
  symlinkSync(elsewhere, blob);
  const error = await rejectsWithCode(() => primaryOf(open(directory)), 'ERR_KMS_KEYSET_INVALID');
  assert.match(error.message, /symbolic link/);
});

for (const [what, code, spoil] of [
  [
    'a link',
    'ERR_KMS_KEYSET_INVALID',
    (path) => {
      rmSync(path);
      symlinkSync('/dev/null', path);
    },
  ],
  [
    'a FIFO',
    'ERR_KMS_KEYSET_INVALID',
    (path) => {
      rmSync(path);
      execFileSync('mkfifo', ['-m', '600', path]);
    },
  ],
  ['open to everyone', 'ERR_KMS_KEYSET_PERMISSIONS', (path) => chmodSync(path, 0o644)],
  ['gone', 'ERR_KMS_KEYSET_INVALID', (path) => rmSync(path)],
] as readonly (readonly [string, KmsErrorCode, (path: string) => void])[]) {
  test(`a pending key whose file is ${what} is a warning, and the primary seals`, async () => {
    const { directory, keyId } = await makeKeyset();
    const pending = await generateKey(open(directory).admin!);
    spoil(join(directory, `${pending.keyId}.key`));
    const keyset = await open(directory).load(patient);
    assert.is(keyset.primary.keyId, keyId);
    assert.equal(
      keyset.warnings.map((warning) => (warning as KmsError).code),
      [code],
    );
    keyset.destroy();
  });
}

test('a manifest that is a link: its keys are found beside the link and beside its target', async () => {
  const { directory, keyId } = await makeKeyset();
  const pending = await generateKey(open(directory).admin!);
  const place = join(newDirectory(), 'keys');
  mkdirSync(place);
  symlinkSync(join(directory, 'keyset.yaml'), join(place, 'keyset.yaml'));
  renameSync(join(directory, `${keyId}.key`), join(place, `${keyId}.key`));
  const keyset = await open(place).load(patient);
  assert.equal([keyset.primary.keyId, keyset.warnings], [keyId, []]);
  keyset.destroy();
  assert.ok((await open(place).admin!.readManifest())!.manifest.keys.some(({ id }) => id === pending.keyId));
});

test('a manifest that is a link is not changed, because the link would be lost, and no key is made, until one of two ways is taken', async () => {
  const { directory, keyId } = await makeKeyset();
  const place = join(newDirectory(), 'keys');
  mkdirSync(place);
  symlinkSync(join(directory, 'keyset.yaml'), join(place, 'keyset.yaml'));
  const error = await rejectsWithCode(() => generateKey(open(place).admin!), 'ERR_KMS_KEYSET_RULE');
  assert.match(error.message, 'is a symbolic link to');
  assert.equal(readdirSync(place), ['keyset.yaml']);
  const target = join(directory, 'keyset.yaml');
  assert.is(error.remedy, `change the keyset where ${target} is, or replace the link by the file`);
  await generateKey(open(dirname(target)).admin!);
  rmSync(join(place, 'keyset.yaml'));
  cpSync(directory, place, { recursive: true });
  await generateKey(open(place).admin!);
  for (const [one, keys] of [
    [directory, 2],
    [place, 3],
  ] as const) {
    const keyset = await open(one).load(patient);
    assert.equal([keyset.primary.keyId, keyset.manifest.keys.length], [keyId, keys]);
    keyset.destroy();
  }
});

for (const name of ['blob', 'manifest']) {
  test(`a FIFO in the place of the ${name} does not hold up anybody`, async () => {
    const { directory, blob } = await makeKeyset();
    const path = name === 'blob' ? blob : join(directory, 'keyset.yaml');
    rmSync(path);
    execFileSync('mkfifo', ['-m', '600', path]);
    await rejectsWithCode(() => primaryOf(open(directory)), 'ERR_KMS_KEYSET_INVALID');
  });

  test(`a directory in the place of the ${name} is refused`, async () => {
    const { directory, blob } = await makeKeyset();
    const path = name === 'blob' ? blob : join(directory, 'keyset.yaml');
    rmSync(path);
    mkdirSync(path, { mode: 0o700 });
    const code = name === 'blob' ? 'ERR_KMS_KEYSET_INVALID' : 'ERR_KMS_STORE_UNAVAILABLE';
    await rejectsWithCode(() => primaryOf(open(directory)), code);
  });
}

test.run();
