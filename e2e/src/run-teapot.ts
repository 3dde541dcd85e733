import { launcher } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCommand {
  readonly kill: () => void;
  readonly result: Promise<CommandResult>;
}

/** Starts `teapot-kms` with `args`. @param env - beside the environment of this process */
export function runTeapot(args: readonly string[], env: Readonly<Record<string, string>> = {}): RunningCommand {
  const child = spawn(launcher(), args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  const result = new Promise<CommandResult>((resolve) =>
    child.once('close', (code) => resolve({ code, stdout, stderr })),
  );
  return { kill: () => child.kill('SIGKILL'), result };
}
