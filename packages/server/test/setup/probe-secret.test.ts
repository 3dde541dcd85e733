import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { KubeApi } from '../../src/setup/kube-api.ts';
import { writesThrough } from '../../src/setup/probe-secret.ts';

const OURS = 'k8s:enc:kms:v2:teapot-main:';

/** kube-apiserver that writes each Secret with a prefix, and the etcd below it. */
function modelOf(prefix: string) {
  const etcd = new Map<string, Buffer>();
  const calls: string[] = [];
  let writes = 5;
  const api: Pick<KubeApi, 'object' | 'remove' | 'metrics'> = {
    object: (_, __, ___, body) => {
      const { name } = (body as { metadata: { name: string } }).metadata;
      etcd.set(`/registry/secrets/kube-system/${name}`, Buffer.from(`${prefix}bytes`));
      writes++;
      return Promise.resolve(undefined);
    },
    remove: (path) => {
      calls.push(`DELETE ${path}`);
      etcd.clear();
      return Promise.resolve();
    },
    metrics: (keep) => {
      const labels = `resource="secrets",status="OK",transformation_type="to_storage",transformer_prefix="${prefix}"`;
      const others = `apiserver_storage_transformation_operations_total{status="OK",transformation_type="from_storage",transformer_prefix="${OURS}"} ${writes}`;
      const text = `apiserver_storage_transformation_operations_total{${labels}} ${writes}\n${others}`;
      const lines = text.split('\n').filter(keep);
      return Promise.resolve(lines.map((line) => `${line}\n`).join(''));
    },
  };
  return { api, etcd, calls };
}
const about = { provider: 'teapot-main', root: '/registry/' };

for (const [name, prefix, expected] of [
  ['our provider', OURS, true],
  ['another KMS provider whose name begins alike', 'k8s:enc:kms:v2:teapot-main-2:', false],
  ['another provider', 'k8s:enc:aescbc:v1:key1:', false],
  ['identity', '', false],
] as const) {
  test(`${name}: etcd shows who writes`, async () => {
    const { api, etcd } = modelOf(prefix);
    const readEtcd = (key: string) => Promise.resolve(etcd.get(key));
    assert.is(await writesThrough(api, { ...about, readEtcd }), expected);
  });

  test(`${name}: without etcd, the metrics show who writes`, async () => {
    const { api } = modelOf(prefix);
    assert.is(await writesThrough(api, { ...about, readEtcd: () => Promise.resolve(null) }), expected);
  });
}

test('the Secret goes again, also where etcd has none: that is no answer', async () => {
  const { api, etcd, calls } = modelOf(OURS);
  const none = { ...about, readEtcd: () => Promise.resolve(undefined) };
  await writesThrough(api, none).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match((error as Error).message, /is it the etcd of this kube-apiserver/),
  );
  assert.is(etcd.size, 0);
  assert.match(calls.at(-1)!, /^DELETE .*labelSelector=app.kubernetes.io%2Fmanaged-by%3Dteapot-kms-setup$/);
});

test.run();
