import { flagsOf, withoutEncryption } from './api-server-pod.ts';
import * as kubeadm from './cluster-configuration.ts';
import { RELOAD_FLAG } from './encryption-access.ts';
import { isOnlyIdentity, withoutProvider } from '../kubernetes/encryption-providers.ts';
import type { Plan, PlanInput, Wish } from './plan-input.ts';
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

/** The next step on the way back. The provider goes only when nobody writes with it, and no object needs it. */
export function planUndo(input: PlanInput): Plan {
  const { wish, files, server, clusterConfiguration, others, needed } = input;
  // Whoever set the cluster up by hand has chosen another place.
  const file = namedConfiguration(input) ?? wish.access.file;
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
    if (!reloads(input)) {
      const remedy = `set --${RELOAD_FLAG}=true in ${wish.manifestFile}, and run the command again`;
      return blocked(`kube-apiserver ${server.name} does not read ${file} again when it changes`, remedy);
    }
    return { step: 'stop-writing', reason: 'the provider that wrote before the plugin writes again', files: reads };
  }
  const writers = others.filter(({ writes }) => writes !== false);
  if (writers.length > 0) {
    return waiting(
      `writes through the plugin, or does not answer: kube-apiserver ${namesOf(writers)}`,
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
  return toRemove(wish, files, file);
}

function toRemove({ manifestFile, provider }: Wish, files: PlanInput['files'], file: string): Plan {
  const left = withoutProvider(files.get(file)!, file, provider.name);
  const keep = !isOnlyIdentity(left, file);
  const changes = [
    // kube-apiserver stops using the file first.
    ...changeOf(files, manifestFile, withoutEncryption(files.get(manifestFile)!, manifestFile, keep)),
    ...changeOf(files, file, left),
  ];
  return { step: 'remove', reason: 'no object needs the plugin', files: changes };
}

const reloads = ({ wish: { manifestFile }, files }: PlanInput): boolean =>
  flagsOf(files.get(manifestFile)!, manifestFile).get(RELOAD_FLAG) === 'true';
