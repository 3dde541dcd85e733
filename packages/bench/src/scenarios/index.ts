import type { Scenario } from '../scenario.ts';
import { heapGrowth } from './heap-growth.ts';
import { profile } from './profile.ts';

/** In the order in which they run. */
export const scenarios: readonly Scenario[] = [profile, heapGrowth];
