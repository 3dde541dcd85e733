import { fileKeyStore } from '../src/key-stores/file.ts';
import { runGroup } from '../src/run-group.ts';
import { v1Group } from '../src/scenarios/index.ts';
import { gracefulRestart } from '../src/scenarios/graceful-restart.ts';
runGroup({ ...v1Group, scenarios: gracefulRestart }, fileKeyStore);
