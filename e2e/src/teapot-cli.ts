import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const MAIN = join(import.meta.dirname, '../../packages/server/src/cli/main.ts');

/** As an installation runs it, see the first line of main.ts, but from the sources. */
export const teapotArgs = (...args: readonly string[]): string[] => [
  '--disable-sigusr1',
  '--max-semi-space-size=32',
  '--conditions=teapot-source',
  MAIN,
  ...args,
];

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
    const options = { env: { ...process.env, ...env } };
    return (await promisify(execFile)(process.execPath, teapotArgs(...args), options)).stdout;
  } catch (error) {
    throw new Error(`teapot-kms ${args.join(' ')}: ${(error as { stderr?: string }).stderr ?? String(error)}`, {
      cause: error,
    });
  }
}

/** Runs it without waiting, for whoever wants to kill it. */
export function spawnTeapot(args: readonly string[], env: Env = {}): ChildProcess {
  return spawn(process.execPath, teapotArgs(...args), { stdio: 'ignore', env: { ...process.env, ...env } });
}
