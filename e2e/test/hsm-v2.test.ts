import { softHsmKeyStore } from '../src/key-stores/softhsm.ts';
import { runGroup } from '../src/run-group.ts';
import { v2Group } from '../src/scenarios/index.ts';

runGroup(v2Group, softHsmKeyStore);
