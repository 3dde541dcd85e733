import { compare, ratios } from '../load/compare.ts';
import { decryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import type { Side } from '../load/samples.ts';
import type { Server } from '../load/server.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Scenario } from '../scenario.ts';

/** Compares the plugin with the Go reference, which does the least that a plugin can do. */
export const throughput: Scenario = {
  name: 'throughput',
  about: 'Decrypts after a restart, one after the other (KMS v1) and 100 in flight (v2), beside the Go reference',
  missing: missingTeapotBench,
  async run(record) {
    await using rig = new Rig();
    const decrypts = async (server: Server): Promise<Side> => ({
      server,
      requests: await decryptRequests(server.socket),
    });
    const sides = [await decrypts(await rig.plugin()), await decrypts(await rig.reference())] as const;
    // This load comes first, so that all code is compiled before the load with one call in flight.
    const [manyPlugin, manyReference] = await compare(record, 'Decrypt, 100 in flight', sides, { inFlight: 100 });
    record.figure(
      'cpu-ratio-100',
      ratios(manyPlugin, manyReference, (one) => one.cpuUs),
    );
    record.figure(
      'rps-ratio-100',
      ratios(manyPlugin, manyReference, (one) => one.rps),
    );
    const [plugin, reference] = await compare(record, 'Decrypt, 1 in flight', sides, { inFlight: 1 });
    record.figure(
      'p50-ratio-serial',
      ratios(plugin, reference, (one) => one.latencyUs.p50),
    );
  },
};
