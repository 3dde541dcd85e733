import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';

/** The machine of a run. Absolute numbers are valid only for this machine. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly go: string;
}

/** @param go - version of Go that builds the peers and the load client, or a word for "none" */
export function fingerprint(go: string): Machine {
  const [first] = cpus();
  return {
    cpu: first?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    go: go.replace(/^go/, ''),
  };
}

/** Results are comparable only if every property of the machines is equal. */
export function sameMachine(one: Machine, other: Machine): boolean {
  return describeMachine(one) === describeMachine(other);
}

export function describeMachine({ cpu, cores, memoryGb, kernel, node, go }: Machine): string {
  return `${cpu}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}, Node ${node.replace(/^v/, '')}, Go ${go}`;
}

/** Changes in these paths do not affect a measurement. */
const NOT_MEASURED = [':!packages/bench/results', ':!docs', ':!*.md'];

/**
 * Returns the last commit that changed measured or measuring code, with `+` if the checkout has uncommitted changes to it.
 * Committing results does not change the answer.
 */
export function measuredCommit(): string {
  const cwd = join(import.meta.dirname, '../../..');
  const git = (...args: string[]): string =>
    execFileSync('git', [...args, '--', '.', ...NOT_MEASURED], { cwd, encoding: 'utf8' }).trim();
  return git('log', '-1', '--format=%h', '--abbrev=10') + (git('status', '--porcelain') === '' ? '' : '+');
}
