import { readFileSync } from 'node:fs';

/** Returns the number of a group of this host (group(5)), or `undefined` if no group has that name. */
export function groupId(group: string | number): number | undefined {
  if (typeof group === 'number') return group;
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${group}:`));
  return line === undefined ? undefined : Number(line.split(':')[2]);
}
