/**
 * Places labels near the positions `wanted`, at least `apart` from each other and in the same order. Labels that would
 * overlap are centred on the mean of their wanted positions.
 */
export function placeLabels(wanted: readonly number[], apart: number, top: number, bottom: number): number[] {
  const order = wanted.map((_, index) => index).toSorted((a, b) => wanted[a]! - wanted[b]!);
  const groups: { members: number[]; start: number }[] = [];
  const span = (members: readonly number[]): number => (members.length - 1) * apart;
  const settle = (members: number[]): { members: number[]; start: number } => {
    const middle = members.reduce((sum, index) => sum + wanted[index]!, 0) / members.length;
    const start = Math.min(middle - span(members) / 2, bottom - span(members));
    return { members, start: Math.max(start, top) };
  };
  for (const index of order) {
    let group = settle([index]);
    for (
      let last = groups.at(-1);
      last && last.start + span(last.members) + apart > group.start;
      last = groups.at(-1)
    ) {
      groups.pop();
      group = settle([...last.members, ...group.members]);
    }
    groups.push(group);
  }
  const placed = new Array<number>(wanted.length);
  for (const { members, start } of groups) {
    members.forEach((index, position) => (placed[index] = Math.round((start + position * apart) * 10) / 10));
  }
  return placed;
}
