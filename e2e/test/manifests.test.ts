// Every manifest that the guides name, tried by server-side dry-run on a real kube-apiserver; unknown fields are errors.
import { parseConfig } from '@teapot-kms/server';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../src/api-client.ts';
import { findBinaries, kubernetesVersions, MissingBinary } from '../src/binaries.ts';
import { ManagementCluster, readerRules } from '../src/management-cluster.ts';

const root = join(import.meta.dirname, '../..');
const files = globSync(['k8s/tenants/*.yaml', 'k8s/static-pod/*.yaml'], { cwd: root }).sort();
const [kubernetes = ''] = kubernetesVersions();
const test = suite(`manifests on Kubernetes ${kubernetes}`);

const PLURALS: Readonly<Record<string, string>> = {
  Namespace: 'namespaces',
  ServiceAccount: 'serviceaccounts',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  Secret: 'secrets',
  ConfigMap: 'configmaps',
  Pod: 'pods',
  DaemonSet: 'daemonsets',
};

const objectsOf = (file: string): KubeObject[] =>
  parseAllDocuments(readFileSync(join(root, file), 'utf8'), { schema: 'yaml-1.1' }).map(
    (one) => one.toJS() as KubeObject,
  );

function collectionOf({ apiVersion = '', kind = '', metadata: { namespace } }: KubeObject): string {
  const prefix = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const plural = PLURALS[kind];
  assert.ok(plural, `what is the plural of ${kind}?`);
  return `${prefix}/${namespace === undefined ? '' : `namespaces/${namespace}/`}${plural}`;
}

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
    const { client } = (await ready()).apiserver;
    const objects = objectsOf(file);
    assert.ok(objects.length > 0);
    for (const object of objects) {
      const { name, namespace } = object.metadata;
      // The namespace is there already.
      if (object.kind === 'Namespace')
        await client.replace(`/api/v1/namespaces/${name}?dryRun=All&fieldValidation=Strict`, object);
      else {
        const made = await client.create(`${collectionOf(object)}?dryRun=All&fieldValidation=Strict`, object);
        assert.equal([made.metadata.name, made.metadata.namespace], [name, namespace]);
      }
    }
  });
}

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
  const starting = files.map((file) => readFileSync(join(root, file), 'utf8')).filter((text) => text.includes('args: [serve'));
  assert.is(starting.length, 3);
  for (const text of starting) {
    assert.ok(text.includes(`image: localhost/teapot-kms:${version}\n`));
    assert.not.match(text, /command:/);
  }
});

test('every manifest of k8s/tenants is named in the guide, and every one that it names is there', () => {
  const guide = readFileSync(join(root, 'docs/tenant-control-planes.md'), 'utf8');
  const named = [...guide.matchAll(/\(\.\.\/(k8s\/tenants\/[\w-]+\.yaml)\)/g)].map(([, name]) => name!);
  assert.equal(
    [...new Set(named)].sort(),
    files.filter((file) => file.startsWith('k8s/tenants/')),
  );
  for (const name of named) assert.ok(existsSync(join(root, name)));
});

try {
  findBinaries(kubernetes);
  test.run();
} catch (error) {
  if (!(error instanceof MissingBinary)) throw error;
  console.log(`SKIPPED manifests on Kubernetes ${kubernetes}: ${error.message}`);
}
