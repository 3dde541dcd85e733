import { flagsOf } from './api-server-pod.ts';
import { CONFIG_FLAG } from './encryption-access.ts';
import { positionOf, withProvider } from '../kubernetes/encryption-providers.ts';
import type { Position } from '../kubernetes/encryption-providers.ts';
import type { FileChange, Plan, PlanInput, ServerState } from './plan-input.ts';

/** The EncryptionConfiguration that kube-apiserver's manifest names. */
export function namedConfiguration({ wish, files }: Pick<PlanInput, 'wish' | 'files'>): string | undefined {
  const manifest = files.get(wish.manifestFile);
  return manifest === undefined ? undefined : flagsOf(manifest, wish.manifestFile).get(CONFIG_FLAG);
}

/** Where the plugin stands in what kube-apiserver uses. A file of ours that no flag names was lost by an upgrade: its order still counts. */
export function positionNow(input: Pick<PlanInput, 'wish' | 'files'>): Position {
  const { wish, files } = input;
  const named = namedConfiguration(input) ?? (wish.undo ? undefined : wish.access.file);
  return named === undefined ? 'absent' : positionOf(files.get(named), named, wish.provider.name);
}

/** Our file, made of the one that kube-apiserver uses. */
export function configurationWith(input: PlanInput, position: 'reads' | 'writes'): string {
  const { wish, files } = input;
  const named = namedConfiguration(input) ?? wish.access.file;
  return withProvider(files.get(named), named, wish.provider, wish.resources, position);
}

export const changeOf = (files: PlanInput['files'], path: string, after: string): FileChange[] =>
  files.get(path) === after ? [] : [{ path, before: files.get(path), after }];

export const kubeadmStep = (clusterConfiguration: string): Plan => {
  const reason = "kubeadm's own configuration gets the same: its next upgrade would undo it";
  return { step: 'kubeadm', reason, files: [], clusterConfiguration };
};
export const waiting = (reason: string, remedy: string): Plan => ({
  step: 'wait-for-servers',
  reason,
  remedy,
  files: [],
});
/** Names kube-apiservers, with why one does not answer. */
export const namesOf = (servers: readonly ServerState[]): string =>
  servers.map(({ name, problem }) => (problem === undefined ? name : `${name} (${problem})`)).join(', ');
export const blocked = (reason: string, remedy: string): Plan => ({ step: 'blocked', reason, remedy, files: [] });
