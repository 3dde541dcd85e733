/** The Helm chart, with helm, kustomize and a real kube-apiserver. A part of `npm run test:full`: helm is built for it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { KubeObject } from '../src/api-client.ts';
import { kubernetesVersions } from '../src/binaries.ts';
import { goProgram } from '../src/helm.ts';
import { ManagementCluster } from '../src/management-cluster.ts';
import { dryRun, isBuiltIn, objectsIn } from '../src/manifests.ts';

const root = join(import.meta.dirname, '../..');
const chart = join(root, 'k8s/chart');
const examples = globSync(join(chart, 'examples/*.yaml')).sort();
const [kubernetes = ''] = kubernetesVersions();
const test = suite('chart');
const scratch = mkdtempSync(join(tmpdir(), 'teapot-chart-'));
let cluster: ManagementCluster | undefined;

const NAMESPACE = ['--namespace', 'teapot-kms'];
const METRICS = ['--set', 'metrics.enabled=true'];

/** What `helm install` would make. */
function rendered(example: string, ...options: string[]): KubeObject[] {
  const args = ['template', 'x', chart, '--kube-version', kubernetes, ...NAMESPACE, '-f', example, ...options];
  return objectsIn(execFileSync(goProgram('helm'), args, { encoding: 'utf8' })).filter(Boolean);
}

/** What `kubectl apply -k` would make. */
function built(directory: string): KubeObject[] {
  return objectsIn(execFileSync(goProgram('kustomize'), ['build', directory], { encoding: 'utf8' }));
}

/** By kind and name, without what only Helm's users choose; configurations as what they mean. */
function substance(objects: readonly KubeObject[]): Map<string, unknown> {
  const all = objects
    .filter(({ kind }) => kind !== 'Namespace')
    .map((object): [string, unknown] => {
      const copy = structuredClone(object);
      const text = copy.data?.['config.yaml'];
      if (text !== undefined) Object.assign(copy, { data: parse(text) as object });
      const { spec } = copy as {
        spec?: { template?: { spec: { containers: { name: string; imagePullPolicy?: string }[] } } };
      };
      const containers = spec?.template?.spec.containers ?? [];
      for (const container of containers) delete container.imagePullPolicy;
      containers.sort((a, b) => a.name.localeCompare(b.name));
      return [`${copy.kind ?? ''} ${copy.metadata.name}`, copy];
    });
  return new Map(all.sort(([a], [b]) => a.localeCompare(b)));
}

test.before(async () => {
  cluster = await ManagementCluster.start(`chart-${kubernetes}`, kubernetes);
  await cluster.ensure('/api/v1/namespaces', { metadata: { name: 'teapot-kms' } });
});
test.after(async () => {
  await cluster?.close();
  rmSync(scratch, { recursive: true, force: true });
});

for (const example of examples) {
  test(`helm lint accepts ${basename(example)}`, () => {
    const args = ['lint', '--strict', '--kube-version', kubernetes, chart, '-f', example, ...NAMESPACE, ...METRICS];
    const { status, stdout, stderr } = spawnSync(goProgram('helm'), args, { encoding: 'utf8' });
    assert.is(status, 0, stdout + stderr);
  });

  test(`kube-apiserver accepts what the chart makes with ${basename(example)}`, async () => {
    const objects = rendered(example, ...METRICS);
    assert.ok(objects.some(({ kind }) => kind === 'PodMonitor'));
    await dryRun(cluster!, objects.filter(isBuiltIn));
  });
}

const tenants = join(chart, 'examples/k8s-secret.yaml');

test('helm and kustomize make the same', () => {
  assert.equal(substance(rendered(tenants)), substance(built(join(root, 'k8s/tenants'))));
});

test('helm and kustomize make the same with metrics', () => {
  const path = (name: string): string => relative(scratch, join(root, name));
  const resources = `resources: [${path('k8s/tenants')}]\ncomponents: [${path('k8s/tenants/metrics')}]\n`;
  writeFileSync(join(scratch, 'kustomization.yaml'), resources);
  assert.equal(substance(rendered(tenants, ...METRICS)), substance(built(scratch)));
});

test('without keysets in Secrets the plugin gets no rights on Secrets', () => {
  const objects = rendered(join(chart, 'examples/file.yaml'));
  assert.equal(
    objects.filter(({ kind }) => kind === 'Role' || kind === 'RoleBinding'),
    [],
  );
});

test('values that the plugin would refuse are refused, and so is a chart without a configuration', () => {
  for (const options of [['-f', tenants, '--set', 'config.unknown=1'], ['-f', tenants, '--set', 'unknown=1'], []]) {
    const { status, stderr } = spawnSync(goProgram('helm'), ['template', 'x', chart, ...options], { encoding: 'utf8' });
    assert.is.not(status, 0);
    assert.match(stderr, 'schema');
  }
});

test.run();
