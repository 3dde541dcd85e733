import { withEncryption } from './api-server-pod.ts';
import * as kubeadm from './cluster-configuration.ts';
import type { Plan, PlanInput, ServerState, Wish } from './plan-input.ts';
import { blocked, changeOf, configurationWith, kubeadmStep, positionNow, waiting } from './plan-parts.ts';

/** The next step on the way to a cluster that encrypts. No kube-apiserver writes through the plugin before every one can read. */
export function planEncryption(input: PlanInput): Plan {
  const { wish, files, server } = input;
  return toServe(input) ?? (server ? toRead(input, server) : toJoin(wish, files));
}

/** The plugin comes first: nothing of the cluster has changed until it answers. */
function toServe({ wish, files, hasKeyset, plugin, others, minor }: PlanInput): Plan | undefined {
  if (minor !== undefined && minor < 28)
    return blocked(`Kubernetes 1.${minor} is too old`, 'upgrade it to 1.28 or later');
  if (!files.has(wish.configFile)) {
    const change = { path: wish.configFile, before: undefined, after: wish.newConfig(minor) };
    return { step: 'configuration', reason: 'the plugin has no configuration', files: [change] };
  }
  if (!hasKeyset) {
    const user = others.find(({ keyIdHash }) => keyIdHash !== undefined);
    if (user && !wish.imports) {
      return blocked(
        `kube-apiserver ${user.name} uses a keyset that this node lacks`,
        'export it there (keys export), and pass --import FILE',
      );
    }
    return { step: 'keyset', reason: wish.imports ? 'the keyset is imported' : 'a keyset is generated', files: [] };
  }
  if ('problem' in plugin) {
    const { pod } = wish;
    const changes = pod ? changeOf(files, pod.file, pod.text) : [];
    return { step: 'plugin', reason: `the plugin does not answer: ${plugin.problem}`, files: changes };
  }
  if (minor === 28 && plugin.version !== 'v2beta1') {
    return blocked('kube-apiserver 1.28 refuses KMS version v2', `set "kmsV2Version: v2beta1" in ${wish.configFile}`);
  }
  const foreign = others.find(({ keyIdHash }) => keyIdHash !== undefined && keyIdHash !== plugin.keyIdHash);
  return (
    foreign &&
    blocked(
      `kube-apiserver ${foreign.name} uses key ${foreign.keyIdHash}, and this node's plugin ${plugin.keyIdHash}`,
      'give all nodes the same keyset (keys export, --import); while a key is switched, wait a minute',
    )
  );
}

/** A node that joins with kubeadm gets the flags from the ClusterConfiguration, and must find the file. */
function toJoin(wish: Wish, files: PlanInput['files']): Plan {
  if (files.has(wish.access.file)) {
    const remedy = 'run kubeadm join --control-plane, and then this command again';
    return { step: 'join', reason: 'the plugin serves, and this node has no kube-apiserver yet', remedy, files: [] };
  }
  return blocked(`${wish.access.file} is missing`, 'copy it from another control-plane node, over a secure channel');
}

function toRead(input: PlanInput, server: ServerState): Plan {
  const { wish, files, plugin, clusterConfiguration, others } = input;
  const { file } = wish.access;
  const position = positionNow(input);
  const changes = [
    ...changeOf(files, file, configurationWith(input, position === 'writes' ? 'writes' : 'reads')),
    ...changeOf(
      files,
      wish.manifestFile,
      withEncryption(files.get(wish.manifestFile)!, wish.manifestFile, wish.access),
    ),
  ];
  const keyIdHash = 'problem' in plugin ? undefined : plugin.keyIdHash;
  if (changes.length > 0 || server.keyIdHash !== keyIdHash) {
    return { step: 'read', reason: `kube-apiserver ${server.name} learns to read through the plugin`, files: changes };
  }
  const change =
    clusterConfiguration === undefined ? undefined : kubeadm.withEncryption(clusterConfiguration, wish.access);
  if (change !== clusterConfiguration) return kubeadmStep(change!);
  const blind = others.filter((other) => other.keyIdHash === undefined);
  if (blind.length > 0) {
    return waiting(
      `cannot read through the plugin yet, or does not answer: kube-apiserver ${blind.map(({ name }) => name).join(', ')}`,
      'run "teapot-kms setup kubeadm --apply" on that node, with --import and an export of the keyset; then here again',
    );
  }
  if (position === 'writes') return { step: 'done', reason: `kube-apiserver ${server.name} encrypts`, files: [] };
  const writes = changeOf(files, file, configurationWith(input, 'writes'));
  return { step: 'write', reason: 'every kube-apiserver can read through the plugin: this one writes', files: writes };
}
