import { execFileSync } from 'node:child_process';

/**
 * Runs one of our scripts in a new process, where nothing is compiled, allocated or cached yet.
 * @returns the JSON value that the script printed
 */
export function inOwnProcess(script: string, args: readonly string[], env: Record<string, string> = {}): unknown {
  const output = execFileSync(process.execPath, ['--conditions=teapot-source', script, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return JSON.parse(output);
}
