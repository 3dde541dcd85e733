import { softHsmKeyStore } from '../src/key-stores/softhsm.ts';
import { runGroup } from '../src/run-group.ts';
import { killGroup } from '../src/scenarios/index.ts';

runGroup(killGroup, softHsmKeyStore);
