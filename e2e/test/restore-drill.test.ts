// The drill of docs/guides/disaster-recovery.md: the machine is gone, and there are a snapshot of etcd, a backup of the keyset and what opens it.
import { fullRun, newDirectory } from '@teapot-kms/testing';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { DEFAULT_KUBERNETES, findBinaries, registerUnlessMissing } from '../src/binaries.ts';
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

interface Backup {
  readonly keyset: string;
  readonly passphrase: string;
}

/** A keyset directory on a new machine, from a backup. @param retired - a key that is used again */
const restored = ({ keyset, passphrase }: Backup, retired?: string): KeyStore => ({
  ...fileKeyStore,
  async open(directory) {
    const fixture = await fileKeyStore.open(directory);
    const uri = String(fixture.keys['uri']);
    rmSync(uri.slice('file:'.length), { recursive: true });
    await teapot(['keys', 'import', keyset, '--uri', uri, '--passphrase-file', passphrase]);
    if (retired !== undefined) await teapot(['keys', 'restore', '--uri', uri, retired]);
    return fixture;
  },
});

registerUnlessMissing('the restore drill', () => {
  const { etcdctl } = findBinaries(DEFAULT_KUBERNETES);
  test('a new machine, a snapshot of etcd and a backup of the keyset: every Secret is readable', async () => {
    const { backup, afterRotation, written } = await loseCluster(etcdctl);
    await readAll({ ...options, snapshot: afterRotation, keyStore: restored(backup) }, written);
  });

  const older = 'a snapshot from before a rotation: the old key is restored, and new data gets the new one';
  if (fullRun) test(older, () => restoreOlder(etcdctl));
  else console.log(`only with TEAPOT_TEST_FULL=1, as it takes minutes: ${older}`);
});

interface Lost {
  readonly backup: Backup;
  readonly beforeRotation: string;
  readonly afterRotation: string;
  /** The data of each Secret, by its name. */
  readonly written: ReadonlyMap<string, unknown>;
  readonly oldKey: string;
  readonly newKey: string;
}

/** Writes a Secret, rotates, writes another one, and loses all but the backups. */
async function loseCluster(etcdctl: string, { retire = false } = {}): Promise<Lost> {
  const safe = newDirectory();
  const inSafe = (name: string): string => join(safe, name);
  const [beforeRotation, afterRotation] = [inSafe('older.db'), inSafe('etcd.db')];
  const backup = { keyset: inSafe('keyset.age'), passphrase: inSafe('passphrase') };
  writeFileSync(backup.passphrase, 'correct horse battery staple\n', { mode: 0o600 });

  const written = new Map<string, unknown>();
  const lost = await Cluster.create({ ...options, keyStore: fileKeyStore });
  try {
    await lost.start();
    const write = async (name: string): Promise<string> => {
      written.set(name, (await lost.client.create(SECRETS, secret(name))).data);
      return (await lost.storedV2(SECRETS, name)).keyId;
    };
    const oldKey = await write('before');
    if (retire) lost.etcd.saveSnapshot(etcdctl, beforeRotation);
    await lost.store.rotate();
    await lost.apiserver.restart();
    const newKey = await write('after');
    assert.is.not(newKey, oldKey, 'two keys are in use');
    if (retire) await lost.store.retire(oldKey);
    const uri = String(lost.store.keys['uri']);
    await teapot(['keys', 'export', '--uri', uri, '--passphrase-file', backup.passphrase, '--out', backup.keyset]);
    lost.etcd.saveSnapshot(etcdctl, afterRotation);
    return { backup, beforeRotation, afterRotation, written, oldKey, newKey };
  } finally {
    await lost.close(false);
  }
}

async function restoreOlder(etcdctl: string): Promise<void> {
  const { backup, beforeRotation, written, oldKey, newKey } = await loseCluster(etcdctl, { retire: true });
  const { rows } = JSON.parse(await teapot(['scan', '--snapshot', beforeRotation, '--output', 'json'])) as {
    rows: { resource: string; keyId: string }[];
  };
  const needed = rows.filter(({ resource }) => resource === 'secrets').map(({ keyId }) => keyId);
  assert.equal(needed, [oldKey], 'the scan of the snapshot names the key that it needs');
  const before = new Map([...written].filter(([name]) => name === 'before'));
  const keyStore = restored(backup, oldKey);
  assert.is(await readAll({ ...options, snapshot: beforeRotation, keyStore }, before), newKey);
}

/** Starts a restored cluster, and reads what was written. @returns the key of a new Secret */
async function readAll(cluster: ClusterOptions, written: ReadonlyMap<string, unknown>): Promise<string> {
  const machine = await Cluster.create(cluster);
  let failed = true;
  try {
    await machine.start();
    for (const [name, data] of written) assert.equal((await machine.client.get(`${SECRETS}/${name}`)).data, data);
    const { items } = await machine.client.list(SECRETS);
    assert.is(items.length, written.size);
    await machine.client.create(SECRETS, secret('new'));
    failed = false;
    return (await machine.storedV2(SECRETS, 'new')).keyId;
  } finally {
    await machine.close(failed);
  }
}

test.run();
