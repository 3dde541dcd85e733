import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { v1Group } from '../src/scenarios/index.ts';

runGroup(v1Group, fileKeyStore);
