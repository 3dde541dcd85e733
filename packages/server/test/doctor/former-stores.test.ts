// What doctor says of the stores of an instance that only decrypt, with keysets in real directories.
import { generateKey, providerFor, SharedResources } from '@teapot-kms/core';
import type { Finding, KeysetSource } from '@teapot-kms/core';
import { newDirectory } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { chownSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { InstanceConfig } from '../../src/config/schema.ts';
import { examineFormerStores } from '../../src/doctor/former-stores.ts';

const ME = { uid: process.geteuid!(), groups: [] };

/** An instance with a former store, whose keyset has one key. */
async function withFormer() {
  const directory = join(newDirectory(), 'former');
  const uri = `file:${directory}`;
  const source = providerFor(uri).open(uri, { allowGroupRead: false }, new SharedResources()) as KeysetSource;
  const { keyId, after } = await generateKey(source.admin!);
  const instance = {
    name: 'main',
    socket: '/run/kms.sock',
    keys: { uri: 'k8s-secret:ns/present' },
    decryptOnly: [{ uri, allowGroupRead: false }],
  } as unknown as InstanceConfig;
  const examine = async (user = ME, running = false) => {
    const { findings, manifests } = await examineFormerStores(instance, user, running);
    for (const { remedy = '' } of findings) {
      assert.not.match(remedy, '--instance main');
      assert.not.match(remedy, 'keys generate');
    }
    return { findings, contexts: manifests.map(({ contextId }) => contextId) };
  };
  return { directory, keyId, contextId: after.contextId, examine };
}

const problemsOf = (findings: readonly Finding[]): Finding[] => findings.filter(({ level }) => level === 'problem');
const OF_IT = '; FILE is a configuration in which this store is the "keys" of instance NAME';

test('a former store that is fine is loaded, and its keyset is known', async () => {
  const { directory, keyId, contextId, examine } = await withFormer();
  const { findings, contexts } = await examine();
  assert.equal(
    findings.map(({ level, about, text }) => [level, about, text]),
    [['ok', `main, keys file:${directory}`, `loaded, primary ${keyId}, 1 key in all`]],
  );
  assert.equal(contexts, [contextId]);
});

test('a former store that is gone is a problem, and its keyset comes from another node or the backup', async () => {
  const { directory, examine } = await withFormer();
  renameSync(directory, `${directory}.lost`);
  const { findings, contexts } = await examine();
  const [{ text, remedy = '' }, ...others] = problemsOf(findings) as [Finding];
  assert.equal([others, contexts], [[], []]);
  assert.match(text, `${directory}/keyset.yaml: no such file`);
  const options = '--config FILE --instance NAME';
  assert.match(
    remedy,
    `(scp -rp NODE:${directory} ${directory}.copy && teapot-kms keys import ${directory}.copy ${options})`,
  );
  assert.ok(remedy.endsWith(`teapot-kms keys import BACKUP ${options}${OF_IT}`), remedy);
});

test('a damaged key of a former store is named', async () => {
  const { directory, keyId, contextId, examine } = await withFormer();
  writeFileSync(join(directory, `${keyId}.key`), randomBytes(32));
  const { findings, contexts } = await examine();
  const [{ text, remedy = '' }] = problemsOf(findings) as [Finding];
  assert.match(text, `key ${keyId}: its bytes do not match the check value`);
  assert.ok(remedy.startsWith('restore the keys from another node') && remedy.endsWith(OF_IT), remedy);
  assert.equal(contexts, [contextId]);
});

test('a damaged manifest of a former store is moved aside, and no keyset is known', async () => {
  const { directory, examine } = await withFormer();
  writeFileSync(join(directory, 'keyset.yaml'), 'keys: none\n');
  const { findings, contexts } = await examine();
  const [{ remedy = '' }] = problemsOf(findings) as [Finding];
  assert.match(remedy, `(mv ${directory}/keyset.yaml ${directory}/keyset.yaml.damaged)`);
  assert.equal(contexts, []);
});

test('a manifest of a former store that is gone from beside its keys is restored', async () => {
  const { directory, examine } = await withFormer();
  rmSync(join(directory, 'keyset.yaml'));
  const [{ remedy = '' }] = problemsOf((await examine()).findings) as [Finding];
  assert.match(remedy, 'restore the manifest of these keys from another node (scp');
});

if (ME.uid === 0) {
  test('a former store of another user than the plugin is a hint, with the command for that user', async () => {
    const { directory, examine } = await withFormer();
    chownSync(directory, 65_534, 65_534);
    const hints = (await examine()).findings.filter(({ level }) => level === 'hint');
    assert.equal(
      hints.map(({ remedy }) => remedy),
      [`find out why; if its content is right: chown -R 0 ${directory}`],
    );
  });

  test("what the plugin's user cannot read of a former store is a problem, unless a plugin has loaded it", async () => {
    const { directory, examine } = await withFormer();
    const other = { uid: 12_345, groups: [] };
    const unreadable = (findings: readonly Finding[]): Finding[] =>
      findings.filter(({ text }) => text.includes('user 12345 cannot read it'));
    const [{ remedy = '' }] = unreadable((await examine(other)).findings) as [Finding];
    assert.match(remedy, /^(chown -R 12345|chmod o\+x) /);
    assert.equal(unreadable((await examine(other, true)).findings), []);
    assert.ok(directory);
  });
} else console.log('SKIPPED owners of former stores: run as root');

test.run();
