import { SoftHsm } from '@teapot-kms/testing/daemons';
import { durations } from '../load/durations.ts';
import { tokenKeys } from '../load/key-stores.ts';
import { decryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { sample } from '../load/samples.ts';
import type { Side } from '../load/samples.ts';
import type { Server } from '../load/server.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Scenario } from '../scenario.ts';

const IN_FLIGHT = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** Measures throughput against the number of concurrent calls. */
export const concurrency: Scenario = {
  name: 'concurrency',
  about:
    'Decrypts a second with 1 to 256 in flight: a keyset on the host, a token with its local KEKs cached, the Go reference',
  missing: missingTeapotBench,
  async run(record) {
    await using rig = new Rig();
    const servers: Server[] = [await rig.plugin(), await rig.reference()];
    if (SoftHsm.missing() === undefined) {
      const token = await SoftHsm.create(rig.path());
      servers.push(await rig.plugin('plugin (pkcs11)', await tokenKeys(rig.path(), token)));
    }
    const sides: Side[] = [];
    for (const server of servers) sides.push({ server, requests: await decryptRequests(server.socket) });
    // Otherwise the first point, one call in flight, would run code that is not compiled yet.
    for (const side of sides) await sample(side, { inFlight: 100 });
    const points = sides.map((): [number, number][] => []);
    const load = { seconds: durations.pointSeconds, warmUpSeconds: durations.pointSeconds / 2 };
    for (const inFlight of IN_FLIGHT) {
      for (const [index, side] of sides.entries()) {
        points[index]!.push([inFlight, Math.round((await sample(side, { ...load, inFlight })).rps)]);
      }
    }
    servers.forEach(({ name }, index) => record.line('throughput-by-concurrency', name, points[index]!));
    const rows = IN_FLIGHT.map((inFlight, row) => [inFlight, ...points.map((line) => line[row]![1])]);
    record.table('Decrypts a second by calls in flight', ['in flight', ...servers.map(({ name }) => name)], rows);
  },
};
