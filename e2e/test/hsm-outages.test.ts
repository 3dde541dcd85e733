import { softHsmKeyStore } from '../src/key-stores/softhsm.ts';
import { runGroup } from '../src/run-group.ts';
import { outageGroup } from '../src/scenarios/index.ts';

runGroup(outageGroup, softHsmKeyStore);
