import { durations } from './durations.ts';
import { runLoad } from './load.ts';
import type { LoadPlan, LoadResult } from './load.ts';
import type { Requests } from './requests.ts';
import type { Server } from './server.ts';

/** A server with the calls that are made to it. */
export interface Side {
  readonly server: Server;
  readonly requests: Requests;
}

/** What one run of a load showed. */
export interface Sample {
  /** Calls a second. */
  readonly rps: number;
  /** The server's CPU for a call, in µs. */
  readonly cpuUs: number;
  /** The client's. */
  readonly clientUs: number;
  readonly latencyUs: LoadResult['latencyUs'];
}

/** How many are in flight on the one connection, or at which rate calls are made; and for how long. */
export interface Load {
  readonly inFlight: number;
  readonly rate?: number;
  readonly seconds?: number;
  readonly warmUpSeconds?: number;
}

const ATTEMPTS = 3;

/**
 * Loads a server, first to warm it up, then to measure.
 *
 * @throws Error when each attempt had to be discarded for a timer warning of the server
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
