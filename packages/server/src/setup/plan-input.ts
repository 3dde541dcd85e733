import type { EncryptionAccess } from './encryption-access.ts';
import type { KmsProvider } from '../kubernetes/encryption-providers.ts';

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
  /** Why it has no start. */
  readonly problem?: string;
  readonly remedy?: string;
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
  readonly newConfig: (minor: number | undefined) => string;
  /** The plugin as a static pod; `undefined`: something else starts it. */
  readonly pod: { readonly file: string; readonly text: string } | undefined;
  /** Where the keyset is: for people. */
  readonly keyset: string;
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
