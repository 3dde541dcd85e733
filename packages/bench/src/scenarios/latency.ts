import { decryptRequests } from '../load/requests.ts';
import { Rig } from '../load/rig.ts';
import { sample } from '../load/samples.ts';
import type { Sample, Side } from '../load/samples.ts';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import type { Scenario } from '../scenario.ts';
import type { Recorder } from '../recorder.ts';
import { median } from '../statistics.ts';

const RATES = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000];
/** The chart shows both servers at this rate. */
const COMMON_RATE = 2_000;
const ROUNDS = 2;
const SECONDS = 5;
/** A sample needs this many calls for a meaningful p99.9. */
const ENOUGH_FOR_P999 = 10_000;
/** A higher median means that the server does not sustain the rate. */
const SUSTAINED_P50_US = 100_000;
/** Limit of concurrent calls. Further calls are sent later, but their latency counts from the intended start. */
const IN_FLIGHT = 256;

const PERCENTILES = [
  ['p50', 50],
  ['p90', 90],
  ['p99', 99],
  ['p999', 99.9],
] as const;

/** Measures at fixed rates, so that queueing shows. Latency counts from the intended start of a call. */
export const latency: Scenario = {
  name: 'latency',
  about: 'percentiles of a Decrypt at fixed rates, beside the Go reference',
  missing: missingTeapotBench,
  async run(record) {
    await using rig = new Rig();
    const sides: Side[] = [];
    for (const server of [await rig.plugin(), await rig.reference()]) {
      sides.push({ server, requests: await decryptRequests(server.socket) });
    }
    for (const side of sides) await sample(side, { inFlight: 16 });
    const rows: (string | number)[][] = [];
    for (const rate of RATES) {
      const samples = sides.map((): Sample[] => []);
      for (let round = 0; round < ROUNDS; round++) {
        for (const [index, side] of sides.entries()) {
          samples[index]!.push(await sample(side, { inFlight: IN_FLIGHT, rate, seconds: SECONDS, warmUpSeconds: 0 }));
        }
      }
      sides.forEach(({ server }, index) => rows.push([rate, server.name, ...rowOf(samples[index]!, rate)]));
      if (rate === COMMON_RATE) report(record, sides, samples);
      if (samples[0]!.every(({ latencyUs }) => latencyUs.p50 > SUSTAINED_P50_US)) break;
    }
    record.table(
      'Decrypt at fixed rates, µs from the intended start',
      ['1/s', 'server', 'p50', 'p90', 'p99', 'p99.9'],
      rows,
    );
  },
};

function rowOf(samples: readonly Sample[], rate: number): (number | string)[] {
  return PERCENTILES.map(([name]) =>
    name === 'p999' && rate * SECONDS < ENOUGH_FOR_P999
      ? '–'
      : Math.round(median(samples.map(({ latencyUs }) => latencyUs[name]))),
  );
}

function report(record: Recorder, sides: readonly Side[], samples: readonly (readonly Sample[])[]): void {
  for (const [index, { server }] of sides.entries()) {
    const of = (name: (typeof PERCENTILES)[number][0]): number[] => samples[index]!.map((one) => one.latencyUs[name]);
    for (const [name] of PERCENTILES) {
      record.measured(`Decrypt at ${COMMON_RATE}/s · ${server.name} · ${name}`, 'µs', of(name));
    }
    record.line(
      'latency-percentiles',
      server.name,
      PERCENTILES.map(([name, percentile]) => [percentile, median(of(name))]),
    );
  }
}
