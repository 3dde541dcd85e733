import { readFileSync } from 'node:fs';

/** A place in the code, as V8 names it. */
export interface Frame {
  readonly functionName: string;
  /** Empty for native functions. */
  readonly url: string;
  readonly lineNumber: number;
}

/** A node of the call tree with the time that was spent in it, and not in those below it. */
export interface CallNode {
  readonly frame: Frame;
  readonly parent: CallNode | undefined;
  readonly children: CallNode[];
  /** µs */
  self: number;
}

/** What `node --cpu-prof` writes, in so far as it is used here. */
export interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame; readonly children?: readonly number[] }[];
  /** µs of the machine's monotonic clock, the same in all processes. */
  readonly startTime: number;
  /** Node on top of the stack at each sample, and µs since the sample before it. */
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** From and to, in µs of the monotonic clock. */
export type Window = readonly [from: number, to: number];

/** Now, on the clock that profiles have their times of. */
export function monotonicMicroseconds(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

export function readProfile(file: string): CpuProfile {
  return JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
}

/** The call tree's nodes, the root first, with the time of the samples within `window`. */
export function callTree(profile: CpuProfile, window: Window = [0, Infinity]): CallNode[] {
  const parents = new Map<number, number>();
  for (const { id, children = [] } of profile.nodes) for (const child of children) parents.set(child, id);
  const nodes = new Map<number, CallNode>();
  // V8 lists parents before their children.
  for (const { id, callFrame } of profile.nodes) {
    const parent = nodes.get(parents.get(id) ?? -1);
    const node: CallNode = { frame: callFrame, parent, children: [], self: 0 };
    parent?.children.push(node);
    nodes.set(id, node);
  }
  let now = profile.startTime;
  profile.samples.forEach((id, index) => {
    const delta = profile.timeDeltas[index] ?? 0;
    now += delta;
    if (now >= window[0] && now <= window[1]) nodes.get(id)!.self += delta;
  });
  return [...nodes.values()];
}
