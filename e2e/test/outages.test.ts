import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { outageGroup } from '../src/scenarios/index.ts';

runGroup(outageGroup, fileKeyStore);
