import type { Scenario } from '../scenario.ts';
import { apiserverRestart } from './apiserver-restart.ts';
import { concurrency } from './concurrency.ts';
import { floods } from './floods.ts';
import { heapGrowth } from './heap-growth.ts';
import { latency } from './latency.ts';
import { micro } from './micro.ts';
import { nodeReboot } from './node-reboot.ts';
import { pool } from './pool.ts';
import { profile } from './profile.ts';
import { start } from './start.ts';
import { throughput } from './throughput.ts';
import { tokenStorm } from './token-storm.ts';
import { vsBarbican } from './vs-barbican.ts';
import { vsPkcs11 } from './vs-pkcs11.ts';
import { writes } from './writes.ts';

/** All scenarios in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  micro,
  pool,
  throughput,
  writes,
  concurrency,
  latency,
  floods,
  vsBarbican,
  vsPkcs11,
  start,
  tokenStorm,
  nodeReboot,
  apiserverRestart,
  profile,
  heapGrowth,
];
