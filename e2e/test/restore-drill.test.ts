// The drill of docs/operators-guide.md: the machine is gone, and there are a snapshot of etcd, a backup of the keyset and what opens it.
import { newDirectory } from '@teapot-kms/testing';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, MissingBinary } from '../src/binaries.ts';
import { Cluster } from '../src/cluster.ts';
import type { ClusterOptions } from '../src/cluster.ts';
import type { KeyStore } from '../src/key-store-fixture.ts';
import { fileKeyStore } from '../src/key-stores/file.ts';
import { secret, SECRETS } from '../src/objects.ts';
import { teapot } from '../src/teapot-cli.ts';

const options: Omit<ClusterOptions, 'keyStore'> = {
  name: 'restore-drill',
  kubernetes: DEFAULT_KUBERNETES,
  encrypted: [{ resources: ['secrets'], providers: ['v2'] }],
};

/** A keyset directory on a new machine, from a backup. */
const restored = (backup: string, passphrase: string): KeyStore => ({
  ...fileKeyStore,
  async open(directory) {
    const fixture = await fileKeyStore.open(directory);
    const uri = String(fixture.keys['uri']);
    rmSync(uri.slice('file:'.length), { recursive: true });
    await teapot(['keys', 'import', backup, '--uri', uri, '--passphrase-file', passphrase]);
    return fixture;
  },
});

try {
  const { etcdctl } = findBinaries(DEFAULT_KUBERNETES);
  test('a new machine, a snapshot of etcd and a backup of the keyset: every Secret is readable', () => drill(etcdctl));
} catch (error) {
  if (!(error instanceof MissingBinary)) throw error;
  console.log(`SKIPPED the restore drill: ${error.message}`);
}

async function drill(etcdctl: string): Promise<void> {
  const safe = newDirectory();
  const [snapshot, backup, passphrase] = ['etcd.db', 'keyset.age', 'passphrase'].map((name) => join(safe, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(passphrase, 'correct horse battery staple\n', { mode: 0o600 });

  const written = new Map<string, unknown>();
  const lost = await Cluster.create({ ...options, keyStore: fileKeyStore });
  try {
    await lost.start();
    const write = async (name: string): Promise<string> => {
      written.set(name, (await lost.client.create(SECRETS, secret(name))).data);
      return (await lost.storedV2(SECRETS, name)).keyId;
    };
    const first = await write('before');
    await lost.store.rotate();
    await lost.apiserver.restart();
    assert.is.not(await write('after'), first, 'two keys are in use');
    const uri = String(lost.store.keys['uri']);
    await teapot(['keys', 'export', '--uri', uri, '--passphrase-file', passphrase, '--out', backup]);
    lost.etcd.saveSnapshot(etcdctl, snapshot);
  } finally {
    await lost.close(false);
  }

  const machine = await Cluster.create({ ...options, snapshot, keyStore: restored(backup, passphrase) });
  let failed = true;
  try {
    await machine.start();
    for (const [name, data] of written) assert.equal((await machine.client.get(`${SECRETS}/${name}`)).data, data);
    const { items } = await machine.client.list(SECRETS);
    assert.is(items.length, written.size);
    await machine.client.create(SECRETS, secret('new'));
    failed = false;
  } finally {
    await machine.close(failed);
  }
}

test.run();
