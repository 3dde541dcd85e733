// Every manifest that the guides name, tried by server-side dry-run on a real kube-apiserver; unknown fields are errors.
import { parseConfig } from '@teapot-kms/server';
import { fencedBlocks } from '@teapot-kms/testing';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findBinaries, kubernetesVersions, registerUnlessMissing } from '../src/binaries.ts';
import { ManagementCluster, readerRules } from '../src/management-cluster.ts';
import { dryRun, isBuiltIn, objectsIn } from '../src/manifests.ts';

const root = join(import.meta.dirname, '../..');
const files = globSync(['k8s/tenants/*.yaml', 'k8s/tenants/metrics/{monitor,alerts}.yaml', 'k8s/static-pod/*.yaml'], {
  cwd: root,
})
  .filter((file) => !file.endsWith('/kustomization.yaml'))
  .sort();
const objectsOf = (file: string) => objectsIn(readFileSync(join(root, file), 'utf8'));
const [kubernetes = ''] = kubernetesVersions();
const test = suite(`manifests on Kubernetes ${kubernetes}`);

let starting: Promise<ManagementCluster> | undefined;
function ready(): Promise<ManagementCluster> {
  starting ??= ManagementCluster.start(`manifests-${kubernetes}`, kubernetes).then(async (cluster) => {
    await cluster.ensure('/api/v1/namespaces', { metadata: { name: 'teapot-kms' } });
    return cluster;
  });
  return starting;
}
test.after(async () => (await starting)?.close());

for (const file of files) {
  test(`${file} is accepted by server-side dry-run`, async () => {
    const objects = objectsOf(file);
    assert.ok(objects.length > 0);
    await dryRun(await ready(), objects.filter(isBuiltIn));
  });
}

test('pods and ConfigMaps of the guides are accepted by server-side dry-run', async () => {
  const blocks = globSync('docs/guides/*.md', { cwd: root }).flatMap((guide) =>
    fencedBlocks(readFileSync(join(root, guide), 'utf8')).filter(({ info }) => info === 'yaml'),
  );
  const documents = blocks.flatMap(({ text }) => objectsIn(text));
  const inside = documents.flatMap(({ pod }) => (pod === undefined ? [] : [pod as (typeof documents)[number]]));
  const objects = [...documents, ...inside].filter(({ kind = '' }) => ['Pod', 'ConfigMap'].includes(kind));
  assert.is(objects.length, 3);
  const cluster = await ready();
  await cluster.ensure('/api/v1/namespaces', { metadata: { name: 'tenant-a' } });
  await dryRun(cluster, objects);
});

test('the configuration in the ConfigMap is one that the plugin takes', () => {
  const [object] = objectsOf('k8s/tenants/config.yaml');
  const { instances } = parseConfig(object!.data!['config.yaml']!, 'config.yaml');
  assert.is(instances.length, 2);
});

test('the role in the manifest is what the tests of the key store run with', () => {
  const role = objectsOf('k8s/tenants/rbac.yaml').find(({ kind }) => kind === 'Role');
  assert.equal(role?.['rules'], readerRules('tenant-a', 'tenant-b'));
});

test('the manifests run the image that this version makes, by its own command', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'packages/server/package.json'), 'utf8')) as {
    version: string;
  };
  const starting = files
    .map((file) => readFileSync(join(root, file), 'utf8'))
    .filter((text) => text.includes('args: [serve'));
  assert.is(starting.length, 3);
  for (const text of starting) {
    assert.match(text, new RegExp(`image: localhost/teapot-kms:${version}(?: #.*)?\n`));
    assert.not.match(text, /command:/);
  }
});

test('every manifest of k8s/tenants is named in the guide, and every one that it names is there', () => {
  const guide = readFileSync(join(root, 'docs/tenant-control-planes.md'), 'utf8');
  const named = [...guide.matchAll(/\(\.\.\/(k8s\/tenants\/[\w/-]+\.yaml)\)/g)].map(([, name]) => name!);
  assert.equal(
    [...new Set(named)].sort(),
    files.filter((file) => file.startsWith('k8s/tenants/')),
  );
  for (const name of named) assert.ok(existsSync(join(root, name)));
});

registerUnlessMissing(`manifests on Kubernetes ${kubernetes}`, () => {
  findBinaries(kubernetes);
  test.run();
});
