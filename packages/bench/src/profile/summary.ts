import type { CallNode } from './cpu-profile.ts';
import { IDLE, ownerOf, whereIs } from './owner.ts';

export interface Share {
  readonly owner: string;
  /** Share of the busy time. */
  readonly share: number;
}

export interface HotFunction extends Share {
  readonly name: string;
  readonly where: string;
}

export interface Summary {
  /** Busy time of the main thread in µs. */
  readonly busy: number;
  /** Share of the total time. */
  readonly busyShare: number;
  /** The largest share first. */
  readonly owners: readonly Share[];
  /** By self time, the largest share first. */
  readonly functions: readonly HotFunction[];
}

export function summarise(nodes: readonly CallNode[]): Summary {
  const owners = new Map<string, number>();
  const functions = new Map<string, { name: string; where: string; owner: string; self: number }>();
  let busy = 0;
  let total = 0;
  for (const node of nodes) {
    const owner = ownerOf(node);
    total += node.self;
    if (owner === IDLE || node.self === 0) continue;
    busy += node.self;
    owners.set(owner, (owners.get(owner) ?? 0) + node.self);
    const name = node.frame.functionName === '' ? '(anonymous)' : node.frame.functionName;
    const where = whereIs(node.frame);
    const key = `${name} ${where} ${owner}`;
    const entry = functions.get(key) ?? { name, where, owner, self: 0 };
    entry.self += node.self;
    functions.set(key, entry);
  }
  const descending = (a: Share, b: Share): number => b.share - a.share;
  return {
    busy,
    busyShare: total === 0 ? 0 : busy / total,
    owners: [...owners].map(([owner, self]) => ({ owner, share: self / busy })).sort(descending),
    functions: [...functions.values()].map(({ self, ...rest }) => ({ ...rest, share: self / busy })).sort(descending),
  };
}
