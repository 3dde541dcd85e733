import { keyIdHash } from '@teapot-kms/server';
import * as assert from 'uvu/assert';
import type { Cluster } from '../cluster.ts';
import { etcdKey, etcdPrefix, secret, SECRETS } from '../objects.ts';
import type { Scenario } from '../scenario.ts';
import { teapot } from '../teapot-cli.ts';

const PLAINTEXT = 'cream-in-first-0123456789';

/** For KMS v2 and v1 alike: the values are kube-apiserver's own. */
export const inspectObjects: readonly Scenario[] = [
  { title: 'inspect names the key of what kube-apiserver has written, and decrypts it only when asked', run: inspect },
  { title: 'scan counts the same objects as etcd', run: scan },
];

interface Inspected {
  readonly envelope: { readonly format: string; readonly keyId: string };
  readonly keyIdHash: string;
  readonly keyset: { readonly opens: boolean };
  readonly plaintext?: string;
}

async function inspect(cluster: Cluster): Promise<void> {
  const { client, etcd, plugin, store } = cluster;
  await client.create(SECRETS, secret('inspected', Buffer.from(PLAINTEXT)));
  const source = ['--etcd', etcdKey(SECRETS, 'inspected'), '--etcd-servers', etcd.url];
  const args = ['inspect', ...source, '--config', plugin.configFile, '--output', 'json'];
  const answer = await teapot(args, store.env);
  const found = JSON.parse(answer) as Inspected;
  const keyId = await store.primary();
  assert.equal([found.envelope.format, found.envelope.keyId, found.keyIdHash], ['teapot-v1', keyId, keyIdHash(keyId)]);
  assert.ok(found.keyset.opens);
  assert.is(found.plaintext, undefined);

  const shown = JSON.parse(await teapot([...args, '--show-plaintext'], store.env)) as Inspected;
  const object = Buffer.from(shown.plaintext ?? '', 'base64');
  assert.is(object.subarray(0, 4).toString(), 'k8s\0');
  assert.ok(object.includes(PLAINTEXT));
  await client.delete(`${SECRETS}/inspected`);
}

async function scan({ etcd, store }: Cluster): Promise<void> {
  const { rows } = JSON.parse(await teapot(['scan', '--etcd-servers', etcd.url, '--output', 'json'])) as {
    rows: readonly { resource: string; keyId?: string; objects: number }[];
  };
  const keyId = await store.primary();
  const counted = rows.find((row) => row.resource === 'secrets' && row.keyId === keyId);
  assert.is(counted?.objects ?? 0, (await etcd.list(etcdPrefix(SECRETS))).length);
  assert.ok(
    rows.some(({ resource }) => resource === 'namespaces'),
    'objects in plain text are counted too',
  );
}
