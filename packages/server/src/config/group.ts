import { readFileSync } from 'node:fs';

/** The number of a group of this host (group(5)), or `undefined` where there is none of that name. */
export function groupId(group: string | number): number | undefined {
  if (typeof group === 'number') return group;
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${group}:`));
  return line === undefined ? undefined : Number(line.split(':')[2]);
}
