import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks a second in /proc (`getconf CLK_TCK`). It is 100 on every Linux that Node supports. */
const TICKS = 100;

/** Returns the CPU time that a process and its descendants have used so far. */
export function cpuSeconds(pid: number): number {
  return familyOf(pid).reduce((sum, one) => sum + ownCpuSeconds(one), 0);
}

/** Returns the resident and the proportional memory of a process and its descendants, in kB. */
export function memoryKb(pid: number): { readonly rss: number; readonly pss: number } {
  const family = familyOf(pid);
  const sum = (file: string, field: string): number =>
    family.reduce((total, one) => total + Number(fieldOf(`/proc/${one}/${file}`, field)), 0);
  return { rss: sum('status', 'VmRSS'), pss: sum('smaps_rollup', 'Pss') };
}

function familyOf(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(familyOf)];
}

/** Reads fields 14 and 15: user and system time. The name in field 2 may contain spaces. */
function ownCpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fromThird = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fromThird[11]) + Number(fromThird[12])) / TICKS;
}

function fieldOf(file: string, field: string): string {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'));
  if (!found) throw new Error(`${file} has no ${field}`);
  return found[1]!;
}
