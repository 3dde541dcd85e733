import { tpmKeyStore } from '../src/key-stores/tpm.ts';
import { runGroup } from '../src/run-group.ts';
import { v2Group } from '../src/scenarios/index.ts';

runGroup(v2Group, tpmKeyStore);
