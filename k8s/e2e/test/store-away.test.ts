import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { storeAwayGroup } from '../src/scenarios/index.ts';

runGroup(storeAwayGroup, fileKeyStore);
