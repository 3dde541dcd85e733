import { missingTeapotBench } from '../load/teapot-bench.ts';
import { capture } from '../profile/capture.ts';
import { profiledLoads } from '../profile/loads.ts';
import { profileTables } from '../profile/tables.ts';
import type { Scenario } from '../scenario.ts';

const [load] = profiledLoads;

export const profile: Scenario = {
  name: 'profile',
  about: `whose code the plugin's time is spent in: ${load.about}`,
  missing: () => missingTeapotBench() ?? load.missing?.(),
  async run(record) {
    for (const { name, columns, rows } of profileTables(await capture(load))) record.table(name, columns, rows);
  },
};
