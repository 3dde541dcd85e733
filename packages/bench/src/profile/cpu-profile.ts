import { readFileSync } from 'node:fs';

/** A position in the code, as V8 names it. */
export interface Frame {
  readonly functionName: string;
  /** Empty for native functions. */
  readonly url: string;
  readonly lineNumber: number;
}

/** A node of the call tree. */
export interface CallNode {
  readonly frame: Frame;
  readonly parent: CallNode | undefined;
  readonly children: CallNode[];
  /** Time in this node without its children, in µs. */
  self: number;
}

/** The parts of the output of `node --cpu-prof` that are used here. */
export interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame; readonly children?: readonly number[] }[];
  /** Time of the monotonic clock in µs. All processes share this clock. */
  readonly startTime: number;
  /** Id of the node on top of the stack at each sample. */
  readonly samples: readonly number[];
  /** µs between each sample and the one before it. */
  readonly timeDeltas: readonly number[];
}

/** Start and end in µs of the monotonic clock. */
export type Window = readonly [from: number, to: number];

/** Returns the time of the clock that profiles use. */
export function monotonicMicroseconds(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

export function readProfile(file: string): CpuProfile {
  return JSON.parse(readFileSync(file, 'utf8')) as CpuProfile;
}

/** Builds the call tree from the samples within `window`. Returns its nodes, the root first. */
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
