import type { Scenario } from '../scenario.ts';
import { concurrency } from './concurrency.ts';
import { latency } from './latency.ts';
import { micro } from './micro.ts';
import { pool } from './pool.ts';
import { throughput } from './throughput.ts';
import { vsBarbican } from './vs-barbican.ts';
import { vsPkcs11 } from './vs-pkcs11.ts';
import { writes } from './writes.ts';

/** In the order in which they run. */
export const scenarios: readonly Scenario[] = [
  micro,
  pool,
  throughput,
  writes,
  concurrency,
  latency,
  vsBarbican,
  vsPkcs11,
];
