import { missingTeapotBench } from '../load/teapot-bench.ts';
import { capture } from '../profile/capture.ts';
import { profiledLoads } from '../profile/loads.ts';
import { profileTables } from '../profile/tables.ts';
import type { Scenario } from '../scenario.ts';

/** The loads of the figures. The token load is for `npm run profile` only. */
const loads = profiledLoads.slice(0, 2);

export const profile: Scenario = {
  name: 'profile',
  about: "whose code the plugin's time is spent in",
  missing: missingTeapotBench,
  async run(record) {
    for (const load of loads) {
      for (const { name, columns, rows } of profileTables(await capture(load))) {
        record.table(`${load.about}. ${name}`, columns, rows);
      }
    }
  },
};
