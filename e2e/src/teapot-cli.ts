import { launcher } from '@teapot-kms/testing/daemons';
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { promisify } from 'node:util';

/** What a process gets into its environment besides ours. */
export type Env = Readonly<Record<string, string>>;

/**
 * Runs `teapot-kms ARGS...` to its end.
 *
 * @returns what it printed
 * @throws Error with what it said on stderr
 */
export async function teapot(args: readonly string[], env: Env = {}): Promise<string> {
  try {
    const command = launcher();
    const options = { env: { ...process.env, ...env } };
    return (await promisify(execFile)(command, args, options)).stdout;
  } catch (error) {
    throw new Error(`teapot-kms ${args.join(' ')}: ${(error as { stderr?: string }).stderr ?? String(error)}`, {
      cause: error,
    });
  }
}

/** Runs it without waiting, so that the caller can kill it. */
export function spawnTeapot(args: readonly string[], env: Env = {}): ChildProcess {
  const command = launcher();
  return spawn(command, args, { stdio: 'ignore', env: { ...process.env, ...env } });
}
