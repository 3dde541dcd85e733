import type { Scenario } from '../scenario.ts';
import { micro } from './micro.ts';
import { pool } from './pool.ts';

/** In the order in which they run. */
export const scenarios: readonly Scenario[] = [micro, pool];
