import { launcher } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';
import { join } from 'node:path';

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly kill: () => void;
  readonly result: Promise<CommandResult>;
}

/** Starts `teapot-kms` with `args`. */
export function runTeapot(args: readonly string[]): RunningCommand {
  return run(launcher(), args);
}

/** As {@link runTeapot}, but from the sources, and --settle may be less than an old seed lives. */
export function runWithoutSettling(args: readonly string[]): RunningCommand {
  const entry = join(import.meta.dirname, 'teapot-without-settling.ts');
  return run(process.execPath, ['--conditions=teapot-source', entry, ...args]);
}

function run(command: string, args: readonly string[]): RunningCommand {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const result = new Promise<CommandResult>((resolve) =>
    child.once('close', (code) => resolve({ code, stdout, stderr })),
  );
  return { kill: () => child.kill('SIGKILL'), result };
}
