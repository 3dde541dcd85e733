import { execFileSync } from 'node:child_process';

/**
 * Runs a script of ours to its end, in a process that nothing was compiled, allocated or looked up in before.
 * @returns what it printed, which is JSON
 */
export function inOwnProcess(script: string, args: readonly string[], env: Record<string, string> = {}): unknown {
  const output = execFileSync(process.execPath, ['--conditions=teapot-source', script, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  return JSON.parse(output);
}
