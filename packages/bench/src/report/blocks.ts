/** A line `<!-- name -->` begins a block, a line `<!-- /name -->` ends it. */
const MARKER = /^<!-- (\/?)([a-z][a-z0-9 -]*?) -->$/;

/**
 * Replaces the content of each block of `text`. Everything else stays as it is.
 *
 * @param render - returns the content of the block with this name
 * @throws Error if a marker has no partner
 */
export function fillBlocks(text: string, render: (name: string) => string): string {
  const lines: string[] = [];
  let open: string | undefined;
  for (const line of text.split('\n')) {
    const [, closing, name] = MARKER.exec(line) ?? [];
    if (name === undefined) {
      if (open === undefined) lines.push(line);
    } else if (closing === '/') {
      if (open !== name) throw new Error(`<!-- /${name} --> closes nothing`);
      open = undefined;
      lines.push('', render(name).trim(), '', line);
    } else {
      if (open !== undefined) throw new Error(`<!-- ${name} --> begins within <!-- ${open} -->`);
      open = name;
      lines.push(line);
    }
  }
  if (open !== undefined) throw new Error(`<!-- ${open} --> is not closed`);
  return lines.join('\n');
}

/** Returns the names of the blocks in `text`. */
export function blockNames(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const [, closing, name] = MARKER.exec(line) ?? [];
    return name !== undefined && closing === '' ? [name] : [];
  });
}

export type Cell = string | number;

export function markdownTable(columns: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const numeric = columns.map((_, index) => rows.length > 0 && rows.every((row) => isNumeric(row[index])));
  const line = (cells: readonly Cell[]): string =>
    `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(columns), `|${numeric.map((right) => (right ? '---:' : '---')).join('|')}|`, ...rows.map(line)].join(
    '\n',
  );
}

/** Columns of numbers are aligned to the right. */
function isNumeric(cell: Cell | undefined): boolean {
  return typeof cell === 'number' || /^(–|(\*\*)?[±<≤≥]?\s?[\d.,]+(\s\S{1,3})?(\*\*)?)$/.test(cell ?? '');
}
