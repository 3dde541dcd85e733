import { durations } from './durations.ts';
import { runLoad } from './load.ts';
import type { LoadPlan, LoadResult } from './load.ts';
import type { Requests } from './requests.ts';
import type { Server } from './server.ts';

/** A server and the calls that load it. */
export interface Side {
  readonly server: Server;
  readonly requests: Requests;
}

/** The result of one run of a load. */
export interface Sample {
  /** Calls a second. */
  readonly rps: number;
  /** CPU of the server per call, in µs. */
  readonly cpuUs: number;
  /** CPU of the client per call, in µs. */
  readonly clientUs: number;
  readonly latencyUs: LoadResult['latencyUs'];
}

/** The number of calls in flight on the one connection, the rate of calls in an open loop, and the durations. */
export interface Load {
  readonly inFlight: number;
  readonly rate?: number;
  readonly seconds?: number;
  readonly warmUpSeconds?: number;
}

const ATTEMPTS = 3;

/**
 * Loads a server, first to warm it up and then to measure. A sample is discarded if the server logs a timer warning.
 *
 * @throws Error if all attempts were discarded
 */
export async function sample({ server, requests }: Side, load: Load): Promise<Sample> {
  const { seconds = durations.sampleSeconds, warmUpSeconds = durations.warmUpSeconds, inFlight, rate } = load;
  const { method, ...calls } = requests;
  const plan: LoadPlan = { method, targets: [{ socket: server.socket, inFlight, ...calls }], ...(rate && { rate }) };
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (warmUpSeconds > 0) await runLoad({ ...plan, seconds: warmUpSeconds });
    const [cpu, warnings] = [server.cpuSeconds(), server.timerWarnings()];
    const result = await runLoad({ ...plan, seconds });
    const used = server.cpuSeconds() - cpu;
    if (server.timerWarnings() === warnings) return toSample(result, used);
    console.log(`  discarded a sample: ${server.name} logged a timer warning`);
  }
  throw new Error(`${server.name} logged timer warnings in ${ATTEMPTS} samples`);
}

function toSample({ ok, seconds, clientCpuSeconds, latencyUs }: LoadResult, cpuSeconds: number): Sample {
  const each = (total: number): number => (total * 1e6) / ok;
  return { rps: ok / seconds, cpuUs: each(cpuSeconds), clientUs: each(clientCpuSeconds), latencyUs };
}
