import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { v2Group } from '../src/scenarios/index.ts';

runGroup(v2Group, fileKeyStore);
