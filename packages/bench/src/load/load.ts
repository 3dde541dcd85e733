import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { teapotBench } from './teapot-bench.ts';

/** A server under load. plan.go declares the same type. */
export interface LoadTarget {
  readonly socket: string;
  /** Default: 1. */
  readonly connections?: number;
  /** Calls that wait for an answer on each connection. An open loop may have fewer. Default: 1. */
  readonly inFlight?: number;
  readonly requests: readonly Buffer[];
  /** Expected answers, in the order of `requests`. If absent, any answer that is not empty is correct. */
  readonly answers?: readonly Buffer[];
}

/** A load ends after `seconds`, after `callsPerTarget` calls to each target, or, with `once`, after each request was sent once. */
export interface LoadPlan {
  /** Path of the method, such as `/v2.KeyManagementService/Decrypt`. */
  readonly method: string;
  readonly targets: readonly LoadTarget[];
  readonly seconds?: number;
  readonly callsPerTarget?: number;
  readonly once?: boolean;
  /**
   * Calls a second over all targets, whether earlier calls were answered or not (open loop). Latency counts from the intended
   * start of a call. If absent, the next call starts when one is answered (closed loop).
   */
  readonly rate?: number;
}

/** The result, as the client measured it. result.go declares the same type. */
export interface LoadResult {
  readonly calls: number;
  readonly ok: number;
  readonly wrong: number;
  /** Failed calls by gRPC status, or by another reason. */
  readonly failed: Readonly<Record<string, number>>;
  /** Time from the start to the last answer. */
  readonly seconds: number;
  readonly latencyUs: Readonly<Record<'p50' | 'p90' | 'p99' | 'p999' | 'max' | 'mean', number>>;
  readonly clientCpuSeconds: number;
  /** Time of the last answer of each target. Present if the number of calls was given. */
  readonly targetsDoneAtMs?: readonly number[];
  /** Number of calls that had ended at each time. */
  readonly timeline: readonly (readonly [ms: number, ended: number])[];
}

const MAX_OUTPUT_BYTES = 64 * 2 ** 20;

/**
 * Loads servers with `teapot-bench load`.
 *
 * @throws Error if an answer is wrong or a call fails, because a figure counts correct answers only
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
      `${plan.method}: ${ok} of ${calls} calls were answered correctly: ${JSON.stringify({ wrong, failed })}`,
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Encodes messages in base64, as Go reads bytes from JSON. */
function encoded(plan: LoadPlan): object {
  const base64 = (messages: readonly Buffer[]): string[] => messages.map((bytes) => bytes.toString('base64'));
  const targets = plan.targets.map(({ requests, answers, ...target }) => ({
    ...target,
    requests: base64(requests),
    ...(answers && { answers: base64(answers) }),
  }));
  return { ...plan, targets };
}
