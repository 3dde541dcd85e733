import { k8sSecretKeyStore } from '../src/key-stores/k8s-secret.ts';
import { runGroup } from '../src/run-group.ts';
import { outageGroup, v2Group } from '../src/scenarios/index.ts';

runGroup(v2Group, k8sSecretKeyStore);
runGroup(outageGroup, k8sSecretKeyStore);
