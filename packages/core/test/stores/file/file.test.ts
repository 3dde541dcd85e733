import { assertNoSecret, keysetSourceSuite, newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { KmsError } from '../../../src/errors.ts';
import { generateKey } from '../../../src/keyset/administration.ts';
import { fileProvider, openKeysetDirectory } from '../../../src/stores/file/index.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { patient } from '../../support/context.ts';
import { makeKeyset, open, primaryOf } from '../../support/directories.ts';
import { newKeyBytes } from '../../support/keys.ts';

keysetSourceSuite(test, 'file', () => {
  const directory = join(newDirectory(), 'keys');
  const source = open(directory);
  // Made here, so that a watch has something to watch.
  mkdirSync(directory, { mode: 0o700 });
  return Promise.resolve({
    source,
    reopen: () => open(directory),
    replaceManifest: (text) => writeFile(join(directory, 'keyset.yaml'), text),
    putBlob: (keyId, bytes) => writeFile(join(directory, `${keyId}.key`), bytes, { mode: 0o600 }),
    removeBlob: (keyId) => rm(join(directory, `${keyId}.key`)),
    readBlob: (keyId) => readFile(join(directory, `${keyId}.key`)),
  });
});

test('a keyset is made with a directory for its owner only, blobs for nobody else', async () => {
  const directory = join(newDirectory(), 'deep', 'keys');
  const { keyId } = await generateKey(open(directory).admin!);
  const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
  assert.is(modeOf(directory), '700');
  assert.is(modeOf(join(directory, `${keyId}.key`)), '600');
  assert.is(readFileSync(join(directory, `${keyId}.key`)).length, 32);
});

for (const [what, mode] of [
  ['the directory', 0o777],
  ['the directory', 0o770],
  ['the manifest', 0o666],
  ['the manifest', 0o664],
] as const) {
  test(`${what} of mode 0${mode.toString(8)} is refused with what to run, because others can change the keyset`, async () => {
    const { directory } = await makeKeyset();
    const path = what === 'the directory' ? directory : join(directory, 'keyset.yaml');
    chmodSync(path, mode);
    const error = await rejectsWithCode(() => open(directory).load(patient), 'ERR_KMS_KEYSET_PERMISSIONS');
    assert.is(error.remedy, `chmod go-w ${path}`);
    await rejectsWithCode(() => open(directory).admin!.readManifest(), 'ERR_KMS_KEYSET_PERMISSIONS');
  });
}

test('a keyset through a link in a place that others can write is refused', async () => {
  const { directory } = await makeKeyset();
  const place = join(newDirectory(), 'open');
  mkdirSync(place);
  chmodSync(place, 0o777);
  symlinkSync(directory, join(place, 'keys'));
  await rejectsWithCode(() => open(join(place, 'keys')).load(patient), 'ERR_KMS_KEYSET_PERMISSIONS');
});

if (process.geteuid?.() !== 0) console.log('SKIPPED files of other users: only root can make them');
else {
  test('a pending key that this user cannot read is a warning, and the primary seals', async () => {
    const { directory, keyId } = await makeKeyset();
    execFileSync('chown', ['-R', '65534:65534', directory]);
    execFileSync('chmod', ['0755', dirname(directory)]);
    const pending = await generateKey(open(directory).admin!);
    chownSync(join(directory, `${pending.keyId}.key`), 0, 0);
    process.seteuid!(65_534);
    try {
      const keyset = await open(directory).load(patient);
      assert.is(keyset.primary.keyId, keyId);
      const [{ code, message }] = keyset.warnings as unknown as [KmsError];
      assert.is(code, 'ERR_KMS_KEYSET_PERMISSIONS');
      assert.match(message, `${pending.keyId}.key: user 65534 cannot read it`);
      keyset.destroy();
    } finally {
      process.seteuid!(0);
    }
  });

  test('a blob of another user than the directory is refused, until the command has run', async () => {
    const { directory, blob } = await makeKeyset();
    chownSync(blob, 65_534, 65_534);
    const error = await rejectsWithCode(() => primaryOf(open(directory)), 'ERR_KMS_KEYSET_PERMISSIONS');
    assert.match(error.message, 'belongs to user 65534');
    execFileSync('/bin/sh', ['-c', error.remedy!.replace('find out why; if it is the right key: ', '')]);
    (await open(directory).load(patient)).destroy();
  });

  test('root reads the keyset of the user that the plugin runs as', async () => {
    const { directory } = await makeKeyset();
    execFileSync('chown', ['-R', '65534:65534', directory]);
    (await open(directory).load(patient)).destroy();
  });
}

for (const mode of [0o600, 0o400]) {
  test(`a blob of mode 0${mode.toString(8)} is loaded`, async () => {
    const { directory, blob } = await makeKeyset();
    chmodSync(blob, mode);
    (await open(directory).load(patient)).destroy();
  });
}

for (const mode of [0o644, 0o604, 0o602, 0o601, 0o666, 0o777]) {
  test(`a blob of mode 0${mode.toString(8)} is refused, whatever is allowed, and the error says what to run`, async () => {
    const { directory, blob } = await makeKeyset();
    chmodSync(blob, mode);
    for (const allowGroupRead of [false, true]) {
      const error = await rejectsWithCode(
        () => primaryOf(open(directory, allowGroupRead)),
        'ERR_KMS_KEYSET_PERMISSIONS',
      );
      assert.ok(error.message.includes(`mode 0${mode.toString(8)}`), error.message);
      assert.ok(error.remedy?.startsWith(`chmod 0600 ${blob}`), error.remedy);
      assertNoSecret(error, readFileSync(blob));
    }
  });
}

for (const mode of [0o640, 0o440]) {
  test(`a blob of mode 0${mode.toString(8)} is loaded only where its group is allowed to read`, async () => {
    const { directory, blob } = await makeKeyset();
    chmodSync(blob, mode);
    const error = await rejectsWithCode(() => primaryOf(open(directory)), 'ERR_KMS_KEYSET_PERMISSIONS');
    assert.match(error.remedy ?? '', /chmod 0600 .*allowGroupRead/);
    (await open(directory, true).load(patient)).destroy();
  });
}

for (const mode of [0o660, 0o620, 0o670]) {
  test(`a blob of mode 0${mode.toString(8)} is refused though its group may read: it may do more`, async () => {
    const { directory, blob } = await makeKeyset();
    chmodSync(blob, mode);
    await rejectsWithCode(() => primaryOf(open(directory, true)), 'ERR_KMS_KEYSET_PERMISSIONS');
  });
}

for (const [what, text, hint] of [
  ['base64', (key: Buffer) => `${key.toString('base64')}\n`, /base64 text\? the blob must be the raw bytes/],
  ['hexadecimal', (key: Buffer) => key.toString('hex'), /hexadecimal text\? the blob must be the raw bytes/],
] as const) {
  test(`a blob that is ${what} text is told what is wrong with it, without its content`, async () => {
    const { directory, blob } = await makeKeyset();
    const key = newKeyBytes();
    writeFileSync(blob, text(key));
    const error = await rejectsWithCode(() => primaryOf(open(directory)), 'ERR_KMS_KEYSET_INVALID');
    assert.match(error.message, hint);
    assertNoSecret(error, key);
  });
}

test('a manifest that is far too long is refused unread', async () => {
  const { directory } = await makeKeyset();
  writeFileSync(join(directory, 'keyset.yaml'), '#'.repeat(1_000_000));
  const error = await rejectsWithCode(() => primaryOf(open(directory)), 'ERR_KMS_KEYSET_INVALID');
  assert.match(error.message, /too long/);
});

for (const path of ['/nonexistent/keys', '/etc/passwd']) {
  test(`${path} is unavailable, and the error names it`, async () => {
    const error = await rejectsWithCode(() => open(path).load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.ok(error.message.includes(path), error.message);
  });
}

test('what the disk refuses to a writer is a KmsError', async () => {
  const { admin } = open('/etc/passwd/teapot');
  await rejectsWithCode(() => admin!.createKey('k', Buffer.alloc(16)), 'ERR_KMS_STORE_UNAVAILABLE');
  await rejectsWithCode(() => open('/etc/passwd').admin!.readManifest(), 'ERR_KMS_STORE_UNAVAILABLE');
});

for (const [uri, shown] of [
  ['file:/etc/keys', 'file:/etc/keys'],
  ['file:///etc/keys', 'file:/etc/keys'],
  ['file:/with space', 'file:/with space'],
  ['file:/with%20space', 'file:/with space'],
  ['file:/etc/../keys/./a//b/', 'file:/keys/a/b'],
  ['file:/100%25/a%3Fb', 'file:/100%25/a%3Fb'],
  ['file:/', 'file:/'],
] as const) {
  test(`${uri} is a keyset directory`, () => {
    assert.is(fileProvider.open(uri, { allowGroupRead: false }, new SharedResources()).uri, shown);
  });
}

for (const uri of [
  'file:',
  'file:keys',
  'file:./keys',
  'file://host/keys',
  'file:/keys?mode=0644',
  'file:/ke\0ys',
  'file:/ke%00ys',
  'file:/50%',
]) {
  test(`${JSON.stringify(uri)} is refused`, async () => {
    await rejectsWithCode(() => fileProvider.check(uri, { allowGroupRead: false }), 'ERR_KMS_INVALID_URI');
    await rejectsWithCode(() => openKeysetDirectory(uri, { allowGroupRead: false }), 'ERR_KMS_INVALID_URI');
  });
}

test('group read is off unless it is set, and a misspelt setting is refused', () => {
  assert.equal(fileProvider.settings.parse({}), { allowGroupRead: false });
  assert.throws(() => fileProvider.settings.parse({ allowgroupread: true }));
});

test.run();
