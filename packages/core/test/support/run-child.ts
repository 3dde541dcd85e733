import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ChildOutcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one of the scripts beside this file in a process of its own. */
export function runChild(script: string, args: readonly string[]): Promise<ChildOutcome> {
  // Most of the time goes into compiling the same modules again.
  const env = { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'teapot-core-test-compile-cache') };
  const path = join(import.meta.dirname, script);
  const child = spawn(process.execPath, ['--conditions=teapot-source', path, ...args], { env });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}
