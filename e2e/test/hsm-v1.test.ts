import { softHsmKeyStore } from '../src/key-stores/softhsm.ts';
import { runGroup } from '../src/run-group.ts';
import { v1Group } from '../src/scenarios/index.ts';

runGroup(v1Group, softHsmKeyStore);
