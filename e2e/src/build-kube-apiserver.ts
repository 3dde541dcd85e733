/**
 * `node --conditions=teapot-source e2e/src/build-kube-apiserver.ts [VERSION...]`: builds each kube-apiserver that is not there yet.
 * setup.sh calls it after it has seen to etcd and pip.
 */
import { findBinaries, kubernetesVersions, MissingBinary } from './binaries.ts';
import { buildKubeApiserver, hasModfile } from './kube-apiserver-build.ts';

const asked = process.argv.slice(2);
for (const kubernetes of asked.length > 0 ? asked : kubernetesVersions()) {
  if (isThere(kubernetes)) continue;
  if (!hasModfile(kubernetes)) {
    throw new Error(`no kube-apiserver/v${kubernetes}.mod: how to make one is in e2e/README.md`);
  }
  console.log(`kube-apiserver ${kubernetes} is in ${await buildKubeApiserver(kubernetes)}`);
}

function isThere(kubernetes: string): boolean {
  try {
    const { kubeApiserver, etcd } = findBinaries(kubernetes);
    console.log(`kube-apiserver ${kubernetes}: ${kubeApiserver}; etcd: ${etcd}`);
    return true;
  } catch (error) {
    if (error instanceof MissingBinary && error.message.includes('kube-apiserver')) return false;
    throw error;
  }
}
