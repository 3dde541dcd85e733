import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { pluginDownGroup } from '../src/scenarios/index.ts';

runGroup(pluginDownGroup, fileKeyStore);
