import { withEncryption } from './api-server-pod.ts';
import * as kubeadm from './cluster-configuration.ts';
import { positionOf } from '../kubernetes/encryption-providers.ts';
import type { Plan, PlanInput, ServerState } from './plan-input.ts';
import {
  blocked,
  changeOf,
  configurationWith,
  kubeadmStep,
  namedConfiguration,
  namesOf,
  positionNow,
  waiting,
} from './plan-parts.ts';

/** The next step on the way to a cluster that encrypts. No kube-apiserver writes through the plugin before every one can read. */
export function planEncryption(input: PlanInput): Plan {
  const { server } = input;
  return (server ? undefined : beforeJoin(input)) ?? toServe(input) ?? (server ? toRead(input, server) : JOIN);
}

/** A node that joins with kubeadm gets the flags from the ClusterConfiguration, and must find the file and the keyset of the others: nobody here can compare. */
function beforeJoin({ wish, files, hasKeyset }: PlanInput): Plan | undefined {
  if (!files.has(wish.access.file))
    return blocked(`${wish.access.file} is missing`, 'copy it from another control-plane node, over a secure channel');
  // Without a configuration, nobody knows where a keyset may be.
  if (hasKeyset || wish.imports || !files.has(wish.configFile)) return undefined;
  return blocked('this node has not joined, and lacks the keyset of the others', EXPORT);
}

const JOIN: Plan = {
  step: 'join',
  reason: 'the plugin serves, and this node has no kube-apiserver yet',
  remedy: 'run kubeadm join --control-plane, and then this command again',
  files: [],
};
const EXPORT = 'export it on a control-plane node that has it (keys export), and pass --import FILE';

/** The plugin comes first: nothing of the cluster has changed until it answers. */
function toServe(input: PlanInput): Plan | undefined {
  const { wish, files, hasKeyset, plugin, server, others, minor } = input;
  if (minor !== undefined && minor < 28)
    return blocked(`Kubernetes 1.${minor} is too old`, 'upgrade it to 1.28 or later');
  if (!files.has(wish.configFile)) {
    const change = { path: wish.configFile, before: undefined, after: wish.newConfig(minor) };
    return { step: 'configuration', reason: 'the plugin has no configuration', files: [change] };
  }
  if (!hasKeyset) {
    const user = others.find(({ keyIdHash }) => keyIdHash !== undefined);
    if (user && !wish.imports) return blocked(`kube-apiserver ${user.name} uses a keyset that this node lacks`, EXPORT);
    if (isInUse(input) && !wish.imports)
      return blocked(
        `kube-apiserver uses the plugin, and there is no keyset in ${wish.keyset}`,
        'mount its volume, or pass --import FILE with a backup of it',
      );
    return { step: 'keyset', reason: wish.imports ? 'the keyset is imported' : 'a keyset is generated', files: [] };
  }
  if ('problem' in plugin) {
    // It may serve from memory while its key store is away: to restart it would take the keys.
    if (isInUse(input))
      return blocked(
        `kube-apiserver uses the plugin, and it is not well: ${plugin.problem}`,
        'run "teapot-kms doctor"',
      );
    const { pod } = wish;
    const changes = pod ? changeOf(files, pod.file, pod.text) : [];
    return { step: 'plugin', reason: `the plugin does not answer: ${plugin.problem}`, files: changes };
  }
  if (minor === 28 && plugin.version !== 'v2beta1') {
    return blocked('kube-apiserver 1.28 refuses KMS version v2', `set "kmsV2Version: v2beta1" in ${wish.configFile}`);
  }
  const foreign = others.find(({ keyIdHash }) => keyIdHash !== undefined && keyIdHash !== plugin.keyIdHash);
  if (!foreign) return undefined;
  const reason = `kube-apiserver ${foreign.name} uses key ${foreign.keyIdHash}, and this node's plugin ${plugin.keyIdHash}`;
  // What this kube-apiserver has written needs the keyset that is here.
  if (server?.keyIdHash !== undefined) return blocked(reason, `${ROTATES}: ${TWO_KEYSETS}`);
  const remedy = `${ROTATES}: stop the plugin, move the keyset in ${wish.keyset} away, and run this command with --import and an export of theirs`;
  return blocked(reason, remedy);
}

/** Whether this kube-apiserver has the plugin among its providers, as it says or as its file does. */
function isInUse({ wish, files, server }: PlanInput): boolean {
  const named = namedConfiguration({ wish, files });
  const inFile = named !== undefined && positionOf(files.get(named), named, wish.provider.name) !== 'absent';
  return server?.keyIdHash !== undefined || inFile;
}

const ROTATES = 'if a key is being rotated, wait a minute, and run the command again. If none is';
const TWO_KEYSETS = 'keep both keysets, and see "Two nodes with two keysets" in docs/operators-guide.md';

/** Why the keyset that was given is not taken. `undefined`: it is, or there is none. */
export const unusedImport = ({ wish, hasKeyset }: Pick<PlanInput, 'wish' | 'hasKeyset'>): string | undefined =>
  wish.imports && hasKeyset ? `--import is not used: there is a keyset in ${wish.keyset}` : undefined;

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
      `cannot read through the plugin yet, or does not answer: kube-apiserver ${namesOf(blind)}`,
      'run "teapot-kms setup kubeadm --apply" on that node, with --import and an export of the keyset; then here again',
    );
  }
  if (position === 'writes') return { step: 'done', reason: `kube-apiserver ${server.name} encrypts`, files: [] };
  const writes = changeOf(files, file, configurationWith(input, 'writes'));
  return { step: 'write', reason: 'every kube-apiserver can read through the plugin: this one writes', files: writes };
}
