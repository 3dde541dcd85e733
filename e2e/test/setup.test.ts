// "teapot-kms setup kubeadm" with a real kube-apiserver. In place of the kubelet, the test runs what the manifests say.
import { newDirectory } from '@teapot-kms/testing';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findEtcd, kubernetesVersions, registerUnlessMissing } from '../src/binaries.ts';
import { Etcd } from '../src/etcd.ts';
import { KubeadmNode } from '../src/kubeadm-node.ts';

const SECRETS = '/api/v1/namespaces/default/secrets';
const PREFIX = 'k8s:enc:kms:v2:teapot-main:';

/** Every file of a directory with its mode and bytes. */
function tree(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).toSorted();
  const files = names.filter((name) => statSync(join(directory, name)).isFile());
  return Object.fromEntries(
    files.map((name) => [
      name,
      `${statSync(join(directory, name)).mode} ${readFileSync(join(directory, name), 'utf8')}`,
    ]),
  );
}

function register(kubernetes: string): void {
  const test = suite<{ etcd: Etcd; node: KubeadmNode; directory: string }>(`setup kubeadm on ${kubernetes}`);
  const started = async (context: { etcd: Etcd; node: KubeadmNode; directory: string }): Promise<void> => {
    context.directory = newDirectory();
    context.etcd = await Etcd.start(findEtcd(), context.directory);
    context.node = await KubeadmNode.start(context.directory, kubernetes, context.etcd.url);
  };
  test.before(started);
  test.after(async ({ node, etcd }) => {
    await node.close();
    await etcd.stop();
  });
  const create = ({ client }: KubeadmNode, name: string): Promise<unknown> =>
    client.create(SECRETS, { metadata: { name }, data: { password: 'c2VzYW1l' } });
  const stored = async (etcd: Etcd, name: string): Promise<string> =>
    (await etcd.get(`/registry/secrets/default/${name}`))!.toString('latin1');

  test('without --apply it prints the changes and makes none', async ({ node, etcd, directory }) => {
    await create(node, 'before');
    const before = tree(join(directory, 'kubernetes'));
    const { code, stdout, stderr } = await node.setup();
    assert.is(code, 0, stderr);
    const flag = `- --encryption-provider-config=${directory}/kubernetes/teapot-kms/encryption-config.yaml`;
    for (const text of ['# configuration: the plugin has no configuration', flag, 'value: "true"', '- identity: {}'])
      assert.ok(stdout.includes(text), `${text}\n${stdout}`);
    assert.match(stdout, /# done: /);
    assert.equal(tree(join(directory, 'kubernetes')), before);
    assert.not.match(await stored(etcd, 'before'), PREFIX);
  });

  test('a wrong setting is rolled back by itself, and the cluster serves', async ({ node }) => {
    const before = readFileSync(node.manifest, 'utf8');
    const { code, stderr } = await node.setup(
      '--apply',
      '--timeout',
      '45s',
      '--resource',
      'secrets',
      'ingresses.extensions',
    );
    assert.is(code, 1, stderr);
    assert.match(stderr, /ERR_SETUP_ROLLED_BACK/);
    assert.is(readFileSync(node.manifest, 'utf8'), before);
    await node.untilReady();
    await create(node, 'after-rollback');
  });

  test('--apply encrypts, and says what to back up', async ({ node, etcd, directory }) => {
    const { code, stdout, stderr } = await node.setup('--apply');
    assert.is(code, 0, stderr);
    assert.match(stdout, /^done: [^]*keys export --config/);
    await create(node, 'after');
    assert.ok((await stored(etcd, 'after')).startsWith(PREFIX));
    const { data } = await node.client.get('/api/v1/namespaces/kube-system/configmaps/kubeadm-config');
    assert.match(data!['ClusterConfiguration']!, 'encryption-provider-config-automatic-reload');
    assert.equal(readdirSync(join(directory, 'kubernetes/manifests')).toSorted(), [
      'kube-apiserver.yaml',
      'teapot-kms.yaml',
    ]);
    assert.is(statSync(node.manifest).mode & 0o777, 0o600);
    const probes = await node.client.list('/api/v1/namespaces/kube-system/secrets');
    assert.is(probes.items.length, 0);
  });

  test('a second run has nothing to do', async ({ node, directory }) => {
    const before = tree(join(directory, 'kubernetes'));
    const { code, stdout } = await node.setup('--apply');
    assert.is(code, 0);
    assert.match(stdout, /^done: /);
    assert.equal(tree(join(directory, 'kubernetes')), before);
  });

  test('--undo waits for a rewrite, and then takes all of it back', async ({ node, etcd }) => {
    const waits = await node.setup('--undo', '--apply');
    assert.is(waits.code, 3, waits.stderr);
    assert.match(waits.stdout, /^rewrite: 1 objects in etcd need the plugin/);
    const { items } = await node.client.list(SECRETS);
    for (const item of items) await node.client.replace(`${SECRETS}/${item.metadata.name}`, item);
    const done = await node.setup('--undo', '--apply');
    assert.is(done.code, 0, done.stderr);
    await node.untilReady();
    assert.not.match(readFileSync(node.manifest, 'utf8'), 'encryption-provider-config');
    assert.not.match(await stored(etcd, 'after'), PREFIX);
    assert.is((await node.client.get(`${SECRETS}/after`)).data!['password'], 'c2VzYW1l');
  });

  test.run();
}

registerUnlessMissing('setup kubeadm', () => {
  for (const kubernetes of kubernetesVersions()) {
    findEtcd();
    register(kubernetes);
  }
});
