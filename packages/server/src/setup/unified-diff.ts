/** Lines around a change. */
const CONTEXT = 3;
/** Most pairs of lines that are compared. Where there are more, all lines between the first and the last difference count as changed. */
const MAX_PAIRS = 4_000_000;

type Line = readonly [sign: ' ' | '-' | '+', text: string];

/**
 * Returns the difference of two texts as `diff -u` writes it, or an empty text where there is none.
 * @param before - `undefined`: the file is new
 * @param after - `undefined`: the file goes
 */
export function unifiedDiff(path: string, before: string | undefined, after: string | undefined): string {
  if (before === after) return '';
  const all = compare(linesOf(before), linesOf(after));
  const head = [`--- ${before === undefined ? '/dev/null' : path}`, `+++ ${after === undefined ? '/dev/null' : path}`];
  return [...head, ...hunksOf(all)].join('\n');
}

const linesOf = (text = ''): readonly string[] => (text === '' ? [] : text.replace(/\n$/, '').split('\n'));

function compare(a: readonly string[], b: readonly string[]): Line[] {
  let [start, endA, endB] = [0, a.length, b.length];
  while (start < endA && start < endB && a[start] === b[start]) start++;
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) [endA, endB] = [endA - 1, endB - 1];
  const same = (lines: readonly string[]): Line[] => lines.map((line) => [' ', line]);
  const middle = changesOf(a.slice(start, endA), b.slice(start, endB));
  return [...same(a.slice(0, start)), ...middle, ...same(a.slice(endA))];
}

/** By the longest common subsequence. */
function changesOf(a: readonly string[], b: readonly string[]): Line[] {
  const removed = a.map((line): Line => ['-', line]);
  const added = b.map((line): Line => ['+', line]);
  if (a.length * b.length > MAX_PAIRS) return [...removed, ...added];
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      const [row, below] = [common[i]!, common[i + 1]!];
      row[j] = a[i] === b[j] ? below[j + 1]! + 1 : Math.max(below[j]!, row[j + 1]!);
    }
  }
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) [lines[lines.length], i, j] = [[' ', a[i]!], i + 1, j + 1];
    else if (common[i + 1]![j]! >= common[i]![j + 1]!) lines.push(removed[i++]!);
    else lines.push(added[j++]!);
  }
  return [...lines, ...removed.slice(i), ...added.slice(j)];
}

function hunksOf(all: readonly Line[]): string[] {
  const changed = all.flatMap(([sign], index) => (sign === ' ' ? [] : [index]));
  const ranges: [from: number, to: number][] = [];
  for (const index of changed) {
    const last = ranges.at(-1);
    if (last && index - CONTEXT <= last[1]) last[1] = index + CONTEXT + 1;
    else ranges.push([Math.max(0, index - CONTEXT), index + CONTEXT + 1]);
  }
  return ranges.flatMap(([from, to]) => {
    const lines = all.slice(from, to);
    const position = (sign: '-' | '+'): string => {
      const count = lines.filter(([one]) => one === ' ' || one === sign).length;
      const before = all.slice(0, from).filter(([one]) => one === ' ' || one === sign).length;
      return `${sign}${count === 0 ? before : before + 1}${count === 1 ? '' : `,${count}`}`;
    };
    return [`@@ ${position('-')} ${position('+')} @@`, ...lines.map(([sign, text]) => `${sign}${text}`)];
  });
}
