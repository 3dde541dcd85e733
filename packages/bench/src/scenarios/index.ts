import type { Scenario } from '../scenario.ts';
import { apiserverRestart } from './apiserver-restart.ts';
import { nodeReboot } from './node-reboot.ts';
import { start } from './start.ts';
import { tokenStorm } from './token-storm.ts';

/** In the order in which they run. */
export const scenarios: readonly Scenario[] = [start, tokenStorm, nodeReboot, apiserverRestart];
