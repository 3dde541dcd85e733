import { barbicanKeyStore, skipWithoutOpenStack } from '../src/key-stores/barbican.ts';
import { runGroup } from '../src/run-group.ts';
import { outageGroup } from '../src/scenarios/index.ts';

skipWithoutOpenStack();
runGroup(outageGroup, barbicanKeyStore('simple'));
