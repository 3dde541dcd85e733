import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CallNode } from './cpu-profile.ts';
import { IDLE, ownerOf, whereIs } from './owner.ts';

/** A box of the flame graph. `value` is its time in µs, including the boxes above it (`children`). */
interface Box {
  readonly name: string;
  readonly owner: string;
  value: number;
  readonly children: Box[];
}

/** Boxes with a smaller share of the total time are too narrow to see and are left out. */
const VISIBLE = 0.0005;

/** Renders a self-contained page. The width of a box is its time. A click zooms in. */
export function flameGraph(title: string, nodes: readonly CallNode[]): string {
  const root = boxOf(nodes[0]!);
  prune(root, root.value * VISIBLE);
  // Only `<` could end the script element.
  const data = JSON.stringify({ title, root }).replaceAll('<', '\\u003c');
  return readFileSync(join(import.meta.dirname, 'flame-graph.html'), 'utf8').replace('"DATA"', () => data);
}

function boxOf(node: CallNode): Box {
  const { frame } = node;
  const where = whereIs(frame);
  const name = (frame.functionName || '(anonymous)') + (where === 'native' ? '' : ` ${where}`);
  const box: Box = { name, owner: ownerOf(node), value: node.self, children: [] };
  for (const child of node.children) {
    if (ownerOf(child) === IDLE) continue;
    const above = boxOf(child);
    box.value += above.value;
    const same = box.children.find((one) => one.name === above.name && one.owner === above.owner);
    if (same) absorb(same, above);
    else box.children.push(above);
  }
  return box;
}

/** Merges boxes of the same function, which its caller may call from several lines. */
function absorb(into: Box, other: Box): void {
  into.value += other.value;
  for (const child of other.children) {
    const same = into.children.find((one) => one.name === child.name && one.owner === child.owner);
    if (same) absorb(same, child);
    else into.children.push(child);
  }
}

function prune(box: Box, least: number): void {
  const visible = box.children.filter(({ value }) => value >= least).sort((a, b) => b.value - a.value);
  box.children.splice(0, Infinity, ...visible);
  for (const child of visible) prune(child, least);
}
