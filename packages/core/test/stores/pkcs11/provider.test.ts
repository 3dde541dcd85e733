import { newDirectory, rejectsWithCode } from '@teapot-kms/testing';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { pkcs11Provider } from '../../../src/stores/pkcs11/provider.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { writeWithMode } from '../../support/directories.ts';
import { manifestOf } from '../../support/manifests.ts';

const URI = 'pkcs11:token=t;object=kek?module-path=/no/such/module.so&pin-source=file:/no/such/pin';

function openIn(directory: string, { uri = URI, ...settings }: { uri?: string } & Record<string, unknown> = {}) {
  const shared = new SharedResources();
  const keyset = join(directory, 'keyset');
  const parsed = pkcs11Provider.settings.parse({ keyset, stateDirectory: join(directory, 'state'), ...settings });
  return { shared, kek: pkcs11Provider.open(uri, parsed, shared) };
}

const context = () => ({ signal: AbortSignal.timeout(10_000) });

test('opening a store touches neither disk nor token, and shares nothing yet', () => {
  const directory = newDirectory();
  const { shared, kek } = openIn(directory);
  assert.is(shared.size, 0);
  assert.not.ok(existsSync(join(directory, 'keyset')));
  assert.not.ok(existsSync(join(directory, 'state')));
  assert.is(kek.uri, 'pkcs11:token=t;object=kek');
});

test('a URI that cannot be understood, and ages that contradict each other, are refused by the check', async () => {
  const settings = { keyset: '/keyset', stateDirectory: '/state' };
  const parse = (more = {}) => pkcs11Provider.settings.parse({ ...settings, ...more });
  pkcs11Provider.check(URI, parse());
  await rejectsWithCode(() => pkcs11Provider.check('pkcs11:token=t', parse()), 'ERR_KMS_INVALID_URI');
  const localKeks = { softAge: '2h', hardAge: '1h' };
  await rejectsWithCode(() => pkcs11Provider.check(URI, parse({ localKeks })), 'ERR_KMS_INVALID_URI');
});

test('without a manifest the store says which file it lacks, before it looks for a module', async () => {
  const directory = newDirectory();
  const { shared, kek } = openIn(directory);
  const error = await rejectsWithCode(() => kek.describe(context()), 'ERR_KMS_STORE_UNAVAILABLE');
  assert.is(error.message, `${join(directory, 'keyset/keyset.yaml')}: no such file`);
  assert.is(shared.size, 0);
  await kek.close();
});

test('without a token there are counters all the same', async () => {
  const { kek } = openIn(newDirectory());
  assert.equal(kek.counters(), { token_logins: 0 });
  await kek.close();
  assert.equal(kek.counters(), {});
});

test('a key URI with an id is for that version alone', async () => {
  const { kek } = openIn(newDirectory(), { uri: URI.replace('object=kek', 'object=kek;id=abc') });
  const error = await rejectsWithCode(() => kek.generate('another'), 'ERR_KMS_KEY_GONE');
  assert.match(error.message, 'not another');
  await kek.close();
});

test('a store that was closed refuses, and may be closed twice', async () => {
  const { kek } = openIn(newDirectory());
  await kek.close();
  await kek.close();
  await rejectsWithCode(() => kek.token(), 'ERR_KMS_CLOSED');
});

test('doctor is told what does not work instead of an error', async () => {
  const { kek } = openIn(newDirectory());
  const remarks = await kek.examine(context());
  assert.is(remarks.length, 1);
  assert.is(remarks[0]!.level, 'problem');
  assert.match(remarks[0]!.text, /pkcs11js|no PKCS#11 module at/);
  assert.ok(remarks[0]!.remedy);
  await kek.close();
});

test('a store that is closed while it reads its manifest leases nothing any more', async () => {
  const directory = newDirectory();
  const { shared, kek } = openIn(directory, { uri: URI.replace('/no/such/module.so', process.execPath) });
  mkdirSync(join(directory, 'keyset'), { mode: 0o700 });
  writeWithMode(join(directory, 'keyset/keyset.yaml'), formatManifest(manifestOf('promoted')), 0o600);
  const described = rejectsWithCode(() => kek.describe(context()), 'ERR_KMS_CLOSED');
  await kek.close();
  await described;
  assert.is(shared.size, 0);
});

test.run();
