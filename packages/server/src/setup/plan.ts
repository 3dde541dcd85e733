import { flagsOf, withEncryption, withoutEncryption } from './api-server-pod.ts';
import * as kubeadm from './cluster-configuration.ts';
import { CONFIG_FLAG } from './encryption-access.ts';
import type { EncryptionAccess } from './encryption-access.ts';
import { isOnlyIdentity, positionOf, withoutProvider, withProvider } from './encryption-providers.ts';
import type { KmsProvider, Position } from './encryption-providers.ts';

/**
 * The steps, in their order. To encrypt: configuration, keyset, plugin, read, kubeadm, wait-for-servers, write. To undo: stop-writing,
 * wait-for-servers, rewrite, remove, kubeadm. Both end with `done`. `blocked`: only an operator can go on.
 */
export type Step =
  | 'configuration'
  | 'keyset'
  | 'plugin'
  | 'read'
  | 'kubeadm'
  | 'wait-for-servers'
  | 'write'
  | 'stop-writing'
  | 'rewrite'
  | 'remove'
  | 'join'
  | 'done'
  | 'blocked';

/** What one kube-apiserver says of itself. */
export interface ServerState {
  /** Its address, or the name of its node. */
  readonly name: string;
  /** When its process started, in seconds since the epoch. `undefined`: it does not answer, or is not ready. */
  readonly startedAt: number | undefined;
  /** Hash of the plugin's key id, where it reads through our provider. */
  readonly keyIdHash: string | undefined;
  /** Undoing: whether it writes with our provider. `undefined`: not asked. */
  readonly writes?: boolean;
}

/** What is wanted, and where it belongs. */
export interface Wish {
  readonly undo: boolean;
  readonly provider: KmsProvider;
  readonly resources: readonly string[];
  readonly access: EncryptionAccess;
  readonly manifestFile: string;
  /** The plugin's configuration, and its content where there is none yet. */
  readonly configFile: string;
  readonly newConfig: string;
  /** The plugin as a static pod; `undefined`: something else starts it. */
  readonly pod: { readonly file: string; readonly text: string } | undefined;
  /** Whether a keyset can be imported. */
  readonly imports: boolean;
}

export interface PlanInput {
  readonly wish: Wish;
  /** Texts of files by their paths. What is missing has none. */
  readonly files: ReadonlyMap<string, string>;
  readonly hasKeyset: boolean;
  readonly plugin: { readonly keyIdHash: string; readonly version: string } | { readonly problem: string };
  /** kubeadm's ClusterConfiguration. `undefined`: there is none, or nobody can be asked. */
  readonly clusterConfiguration: string | undefined;
  /** kube-apiserver of this node. `undefined`: the node has not joined. */
  readonly server: ServerState | undefined;
  readonly others: readonly ServerState[];
  /** Minor version of Kubernetes. */
  readonly minor: number | undefined;
  /** Undoing: objects that need the plugin. `undefined`: nobody could look. */
  readonly needed: number | undefined;
}

/** A change of a file. `undefined`: there is no file. */
export interface FileChange {
  readonly path: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

export interface Plan {
  readonly step: Step;
  readonly reason: string;
  /** What an operator does. */
  readonly remedy?: string;
  readonly files: readonly FileChange[];
  /** kubeadm's ClusterConfiguration after the step. */
  readonly clusterConfiguration?: string;
}

/**
 * Returns the next step. It has no memory: after an interruption, it is called again with what is there then. No kube-apiserver writes through the
 * plugin before every kube-apiserver can read, and the provider goes only when no object needs it.
 */
export function plan(input: PlanInput): Plan {
  const { wish, server, files } = input;
  if (server && server.startedAt === undefined) {
    return blocked(
      `kube-apiserver ${server.name} does not answer, or is not ready`,
      'repair it first: setup starts from a cluster that works',
    );
  }
  const named = namedConfiguration(input);
  if (named !== undefined && !files.has(named))
    return blocked(`${named} is missing, and --${CONFIG_FLAG} names it`, 'restore it');
  return wish.undo ? planUndo(input) : planEncryption(input);
}

/** The EncryptionConfiguration that kube-apiserver's manifest names. */
export function namedConfiguration({ wish, files }: Pick<PlanInput, 'wish' | 'files'>): string | undefined {
  const manifest = files.get(wish.manifestFile);
  return manifest === undefined ? undefined : flagsOf(manifest, wish.manifestFile).get(CONFIG_FLAG);
}

function planEncryption(input: PlanInput): Plan {
  const { wish, files, server } = input;
  return toServe(input) ?? (server ? toRead(input, server) : toJoin(wish, files));
}

/** The plugin comes first: nothing of the cluster has changed until it answers. */
function toServe({ wish, files, hasKeyset, plugin, others, minor }: PlanInput): Plan | undefined {
  if (minor !== undefined && minor < 28)
    return blocked(`Kubernetes 1.${minor} is too old`, 'upgrade it to 1.28 or later');
  if (!files.has(wish.configFile)) {
    const change = { path: wish.configFile, before: undefined, after: wish.newConfig };
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

function planUndo(input: PlanInput): Plan {
  const { wish, files, server, clusterConfiguration, others, needed } = input;
  const { file } = wish.access;
  const text = files.get(file);
  if (!server) return blocked('this node has no kube-apiserver', 'run the command on a control-plane node');
  const position = positionNow(input);
  if (position === 'absent') {
    const keep = text !== undefined && !isOnlyIdentity(text, file);
    const change =
      clusterConfiguration === undefined ? undefined : kubeadm.withoutEncryption(clusterConfiguration, keep);
    if (change !== clusterConfiguration) return kubeadmStep(change!);
    return { step: 'done', reason: `kube-apiserver ${server.name} does not use the plugin`, files: [] };
  }
  if (position === 'writes') {
    const reads = changeOf(files, file, configurationWith(input, 'reads'));
    return { step: 'stop-writing', reason: 'the provider that wrote before the plugin writes again', files: reads };
  }
  const writers = others.filter(({ writes }) => writes !== false);
  if (writers.length > 0) {
    return waiting(
      `writes through the plugin, or does not answer: kube-apiserver ${writers.map(({ name }) => name).join(', ')}`,
      'run "teapot-kms setup kubeadm --undo --apply" on that node, then here again',
    );
  }
  if (needed === undefined)
    return blocked(
      'nobody could look which objects need the plugin',
      "check that etcd can be read with the files of kube-apiserver's --etcd flags",
    );
  if (needed > 0) {
    const remedy = 'rewrite them (kubectl get secrets -A -o json | kubectl replace -f -), and run the command again';
    return { step: 'rewrite', reason: `${needed} objects in etcd need the plugin`, remedy, files: [] };
  }
  return toRemove(wish, files);
}

function toRemove(wish: Wish, files: PlanInput['files']): Plan {
  const {
    access: { file },
    manifestFile,
    provider,
  } = wish;
  const left = withoutProvider(files.get(file)!, file, provider.name);
  const keep = !isOnlyIdentity(left, file);
  const changes = [
    // kube-apiserver stops using the file first.
    ...changeOf(files, manifestFile, withoutEncryption(files.get(manifestFile)!, manifestFile, keep)),
    ...changeOf(files, file, left),
  ];
  return { step: 'remove', reason: 'no object needs the plugin', files: changes };
}

/** Where the plugin stands in what kube-apiserver uses. A file of ours that no flag names was lost by an upgrade: its order still counts. */
export function positionNow(input: Pick<PlanInput, 'wish' | 'files'>): Position {
  const { wish, files } = input;
  const named = namedConfiguration(input) ?? (wish.undo ? undefined : wish.access.file);
  return named === undefined ? 'absent' : positionOf(files.get(named), named, wish.provider.name);
}

/** Our file, made of the one that kube-apiserver uses. */
function configurationWith(input: PlanInput, position: 'reads' | 'writes'): string {
  const { wish, files } = input;
  const named = namedConfiguration(input) ?? wish.access.file;
  return withProvider(files.get(named), named, wish.provider, wish.resources, position);
}

const changeOf = (files: PlanInput['files'], path: string, after: string): FileChange[] =>
  files.get(path) === after ? [] : [{ path, before: files.get(path), after }];

const kubeadmStep = (clusterConfiguration: string): Plan => {
  const reason = "kubeadm's own configuration gets the same: its next upgrade would undo it";
  return { step: 'kubeadm', reason, files: [], clusterConfiguration };
};
const waiting = (reason: string, remedy: string): Plan => ({ step: 'wait-for-servers', reason, remedy, files: [] });
const blocked = (reason: string, remedy: string): Plan => ({ step: 'blocked', reason, remedy, files: [] });
