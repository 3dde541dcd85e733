import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { killGroup } from '../src/scenarios/index.ts';

runGroup(killGroup, fileKeyStore);
