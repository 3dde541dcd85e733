import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { teapotBench } from './teapot-bench.ts';

/** One server under load; plan.go has the same type. */
export interface LoadTarget {
  readonly socket: string;
  /** 1 where absent. */
  readonly connections?: number;
  /** Calls that wait for their answer on each connection; in an open loop, at most. 1 where absent. */
  readonly inFlight?: number;
  readonly requests: readonly Buffer[];
  /** To `requests`, in their order; where absent, any answer that is not empty is right. */
  readonly answers?: readonly Buffer[];
}

/** Ends after `seconds`, or once each target has had `callsPerTarget` calls, or with `once` each of its requests one time. */
export interface LoadPlan {
  /** A path, such as `/v2.KeyManagementService/Decrypt`. */
  readonly method: string;
  readonly targets: readonly LoadTarget[];
  readonly seconds?: number;
  readonly callsPerTarget?: number;
  readonly once?: boolean;
  /**
   * Calls a second over all targets, whether earlier ones were answered or not; latency counts from when a call should have
   * started. Where absent, the next call begins when one is answered.
   */
  readonly rate?: number;
}

/** What the client saw; result.go has the same type. */
export interface LoadResult {
  readonly calls: number;
  readonly ok: number;
  readonly wrong: number;
  /** By gRPC status, or what else ended a call. */
  readonly failed: Readonly<Record<string, number>>;
  /** To the last answer. */
  readonly seconds: number;
  readonly latencyUs: Readonly<Record<'p50' | 'p90' | 'p99' | 'p999' | 'max' | 'mean', number>>;
  readonly clientCpuSeconds: number;
  /** When each target had its last answer, where the number of its calls was given. */
  readonly targetsDoneAtMs?: readonly number[];
  /** How many calls had ended by then. */
  readonly timeline: readonly (readonly [ms: number, ended: number])[];
}

const MAX_OUTPUT_BYTES = 64 * 2 ** 20;

/**
 * Loads servers with `teapot-bench load`.
 *
 * @throws Error when an answer was wrong or a call failed: figures are of good answers only
 */
export async function runLoad(plan: LoadPlan): Promise<LoadResult> {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-load-'));
  try {
    const file = join(directory, 'plan.json');
    writeFileSync(file, JSON.stringify(encoded(plan)), { mode: 0o600 });
    const options = { maxBuffer: MAX_OUTPUT_BYTES };
    const { stdout } = await promisify(execFile)(teapotBench(), ['load', '--plan', file], options);
    const result = JSON.parse(stdout) as LoadResult;
    if (result.ok === result.calls && result.calls > 0) return result;
    const { calls, ok, wrong, failed } = result;
    throw new Error(
      `${plan.method}: of ${calls} calls ${ok} were answered rightly: ${JSON.stringify({ wrong, failed })}`,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Messages as Go reads bytes from JSON. */
function encoded(plan: LoadPlan): object {
  const base64 = (messages: readonly Buffer[]): string[] => messages.map((bytes) => bytes.toString('base64'));
  const targets = plan.targets.map(({ requests, answers, ...target }) => ({
    ...target,
    requests: base64(requests),
    ...(answers && { answers: base64(answers) }),
  }));
  return { ...plan, targets };
}
