import type { Scenario } from '../scenario.ts';
import { concurrency } from './concurrency.ts';
import { heapGrowth } from './heap-growth.ts';
import { latency } from './latency.ts';
import { profile } from './profile.ts';
import { throughput } from './throughput.ts';
import { vsBarbican } from './vs-barbican.ts';
import { vsPkcs11 } from './vs-pkcs11.ts';
import { writes } from './writes.ts';

/** In the order in which they run. */
export const scenarios: readonly Scenario[] = [
  throughput,
  writes,
  concurrency,
  latency,
  vsBarbican,
  vsPkcs11,
  profile,
  heapGrowth,
];
