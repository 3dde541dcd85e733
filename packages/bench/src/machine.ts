import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';

/** What absolute numbers may only be read beside. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly go: string;
}

/** @param go - the version that the peers and the load's client are built with, or that there is none */
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

/** As what one machine measured may be set beside what another did: only where nothing differs. */
export function sameMachine(one: Machine, other: Machine): boolean {
  return describeMachine(one) === describeMachine(other);
}

export function describeMachine({ cpu, cores, memoryGb, kernel, node, go }: Machine): string {
  return `${cpu}, ${cores} cores, ${memoryGb} GB, Linux ${kernel}, Node ${node.replace(/^v/, '')}, Go ${go}`;
}

/** What can change without changing what is measured. */
const NOT_MEASURED = [':!packages/bench/results', ':!docs', ':!*.md'];

/**
 * The last commit that changed something that is measured, or measures; with `+` where the checkout has changes of its
 * own. So results stay those of their commit when they are committed.
 */
export function measuredCommit(): string {
  const cwd = join(import.meta.dirname, '../../..');
  const git = (...args: string[]): string =>
    execFileSync('git', [...args, '--', '.', ...NOT_MEASURED], { cwd, encoding: 'utf8' }).trim();
  return git('log', '-1', '--format=%h', '--abbrev=10') + (git('status', '--porcelain') === '' ? '' : '+');
}
