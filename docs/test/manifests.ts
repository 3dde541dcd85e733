/** What must hold of the manifests in docs/guides, kind by kind. Nothing here knows a distribution's whole schema. */
import { parseConfig } from '@teapot-kms/server';
import { encryptedResources } from '@teapot-kms/server/internal';
import { dirname } from 'node:path/posix';
import * as assert from 'uvu/assert';
import { parseAllDocuments } from 'yaml';

export type Fields = Readonly<Record<string, unknown>>;

/** What stands at a path such as `spec.files.0`. @throws if nothing does */
export function at(fields: unknown, path: string): unknown {
  const value = path.split('.').reduce((inner, name) => (inner as Fields | undefined)?.[name], fields);
  assert.ok(value !== undefined, `no ${path}`);
  return value;
}

/** The documents of a text, and those that it holds as text: files, patches, data of a ConfigMap. */
export function manifestsIn(text: string): { readonly text: string; readonly fields: Fields }[] {
  return parseAllDocuments(text).flatMap((document) => {
    assert.equal([...document.errors, ...document.warnings], []);
    const fields = document.toJS() as Fields;
    const inner = stringsOf(fields).filter((string) => /^(?:apiVersion|kind|version): /.test(string));
    return [{ text: String(document), fields }, ...inner.flatMap(manifestsIn)];
  });
}

function stringsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsOf) : [];
}

/** Asserts what matters of one manifest. */
export function checkManifest({ text, fields }: { readonly text: string; readonly fields: Fields }): void {
  const kind = kindOf(fields);
  const check = CHECKS[kind];
  if (!check) throw new Error(`nothing says what matters of ${kind}`);
  check(fields, text);
}

function kindOf(fields: Fields): string {
  if (typeof fields['kind'] === 'string') return fields['kind'];
  if ('instances' in fields) return 'plugin';
  if ('kube-apiserver-arg' in fields) return 'k3s or RKE2';
  return 'machine' in fields ? 'Talos' : Object.keys(fields).join();
}

const CHECKS: Readonly<Record<string, (fields: Fields, text: string) => void>> = {
  plugin: (_, text) => assert.ok(parseConfig(text, 'guide').instances.length > 0),
  EncryptionConfiguration(fields, text) {
    assert.equal(encryptedResources(text, 'guide'), ['secrets']);
    assert.is(fields['apiVersion'], 'apiserver.config.k8s.io/v1');
    checkProviders(fields['resources']);
  },
  KubeEtcdEncryptionConfig(fields) {
    assert.is(fields['apiVersion'], 'v1alpha1');
    assert.equal(Object.keys(at(fields, 'config') as Fields), ['resources']);
    checkProviders(at(fields, 'config.resources'));
  },
  ClusterConfiguration: (fields) => void checkKubeadm(at(fields, 'apiServer')),
  Cluster(fields) {
    assert.is(fields['apiVersion'], 'kind.x-k8s.io/v1alpha4');
    assert.is(at(fields, 'nodes.0.role'), 'control-plane');
    const [patch] = manifestsIn(at(fields, 'nodes.0.kubeadmConfigPatches.0') as string);
    const inNode = (at(fields, 'nodes.0.extraMounts') as Fields[]).map(({ containerPath }) => containerPath);
    for (const { hostPath } of at(patch!.fields, 'apiServer.extraVolumes') as Fields[]) {
      assert.ok(inNode.includes(hostPath), `${String(hostPath)} is not in the node`);
    }
  },
  KubeadmControlPlane(fields) {
    assert.is(fields['apiVersion'], 'controlplane.cluster.x-k8s.io/v1beta2');
    assert.is(at(fields, 'spec.machineTemplate.spec.infrastructureRef.kind'), 'Metal3MachineTemplate');
    const config = at(fields, 'spec.kubeadmConfigSpec');
    const files = at(config, 'files') as Fields[];
    const configuration = checkKubeadm(at(config, 'clusterConfiguration.apiServer'));
    assert.ok(
      files.some(({ path }) => path === configuration),
      `${configuration} is not written`,
    );
    // The keyset is there before the plugin starts, and what opens it is not in the bootstrap data.
    const script = files.find(({ permissions }) => permissions === '0755')?.['path'];
    const commands = at(config, 'preKubeadmCommands') as string[];
    assert.equal(commands.slice(0, 2), [script, 'systemctl enable --now teapot-kms']);
    assert.not.match(JSON.stringify(fields), /AGE-SECRET-KEY|passphrase/i);
  },
  TenantControlPlane(fields) {
    assert.is(fields['apiVersion'], 'kamaji.clastix.io/v1alpha1');
    const deployment = at(fields, 'spec.controlPlane.deployment');
    const flags = (at(deployment, 'extraArgs.apiServer') as string[]).map((flag) => flag.replace(/^--/, ''));
    const mounts = at(deployment, 'additionalVolumeMounts.apiServer');
    const volumes = at(deployment, 'additionalVolumes');
    checkApiServer(flags, mounts);
    assert.equal(namesOf(mounts), namesOf(volumes));
    // Never the directory of all tenants.
    assert.is(at(volumes, '0.hostPath.path'), '/run/teapot-kms/tenant-a');
  },
  ConfigMap: (fields) => assert.ok(Object.keys(at(fields, 'data') as Fields).length > 0),
  Pod: (fields) => checkPod(at(fields, 'spec')),
  KubeStaticPodConfig(fields) {
    const name = at(fields, 'pod.metadata.name');
    assert.equal([fields['apiVersion'], fields['name'], at(fields, 'pod.kind')], ['v1alpha1', name, 'Pod']);
    checkPod(at(fields, 'pod.spec'));
  },
  Talos(fields) {
    for (const { path, op } of at(fields, 'machine.files') as Fields[]) {
      assert.match(String(path), /^\/var\//);
      assert.is(op, 'create');
    }
    const socket = '/run/teapot-kms';
    assert.equal(at(fields, 'cluster.apiServer.extraVolumes'), [{ hostPath: socket, mountPath: socket }]);
  },
  'k3s or RKE2'(fields) {
    const mounts = fields['kube-apiserver-extra-mount'] ?? [];
    for (const mount of mounts as string[]) assert.is(mount, '/run/teapot-kms:/run/teapot-kms');
    const flag = String(at(fields, 'kube-apiserver-arg.0'));
    assert.match(flag, /^encryption-provider-config=\/etc\/rancher\/(?:k3s|rke2)\/encryption-config\.yaml$/);
  },
};

/** @returns the file of --encryption-provider-config */
function checkKubeadm(apiServer: unknown): string {
  const flags = (at(apiServer, 'extraArgs') as Fields[]).map(({ name, value }) => {
    assert.type(value, 'string', 'kubeadm takes only text');
    return `${String(name)}=${String(value)}`;
  });
  return checkApiServer(flags, at(apiServer, 'extraVolumes'));
}

/** kube-apiserver sees directories, never files: the file and the socket are replaced. @returns as {@link checkKubeadm} */
function checkApiServer(flags: readonly string[], mounts: unknown): string {
  const file = flags.find((flag) => flag.startsWith('encryption-provider-config='))!.split('=')[1]!;
  const paths = (mounts as Fields[]).map(({ mountPath }) => String(mountPath));
  assert.ok(paths.includes(dirname(file)), `${dirname(file)} is not mounted`);
  assert.ok(
    paths.some((path) => path.startsWith('/run/teapot-kms')),
    'the directory of the socket is not mounted',
  );
  assert.equal(
    paths.filter((path) => path.endsWith('.sock') || path.endsWith('.yaml')),
    [],
  );
  return file;
}

/** The entries are those that `teapot-kms config encryption-configuration` prints. */
function checkProviders(resources: unknown): void {
  for (const { providers } of resources as { providers: Fields[] }[]) {
    const kms = providers.flatMap((provider) => (provider['kms'] === undefined ? [] : [provider['kms'] as Fields]));
    assert.is(kms.length, 1);
    const instance = /^teapot-(.+)$/.exec(String(kms[0]!['name']))![1]!;
    const endpoint = `unix:///run/teapot-kms/${instance}/kms.sock`;
    assert.equal(kms, [{ apiVersion: 'v2', name: `teapot-${instance}`, endpoint, timeout: '3s' }]);
    // Nothing that was stored before becomes unreadable.
    assert.ok(providers.some((provider) => 'identity' in provider));
  }
}

function checkPod(spec: unknown): void {
  assert.equal(namesOf(at(spec, 'containers.0.volumeMounts')), namesOf(at(spec, 'volumes')));
  const context = at(spec, 'containers.0.securityContext') as Fields;
  assert.equal([context['allowPrivilegeEscalation'], context['readOnlyRootFilesystem']], [false, true]);
  assert.ok(['serve', 'keys'].includes(String(at(spec, 'containers.0.args.0'))));
}

const namesOf = (parts: unknown): string[] => (parts as Fields[]).map(({ name }) => String(name)).sort();
