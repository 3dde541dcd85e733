/** A line `<!-- name -->` begins what is rendered, `<!-- /name -->` ends it. */
const MARKER = /^<!-- (\/?)([a-z][a-z0-9 -]*?) -->$/;

/**
 * Fills the blocks of a text that are between markers; the rest stays as it was written.
 *
 * @param render - a block's content by its name
 * @throws Error for a marker without its partner
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

/** The names of the blocks that `text` has a place for. */
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

/** Numbers stand under each other by their last digit. */
function isNumeric(cell: Cell | undefined): boolean {
  return typeof cell === 'number' || /^(–|(\*\*)?[±<≤≥]?\s?[\d.,]+(\s\S{1,3})?(\*\*)?)$/.test(cell ?? '');
}
