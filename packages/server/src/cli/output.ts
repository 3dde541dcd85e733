import { Option } from 'commander';

// A reader such as `head` may close the pipe early. That is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

export type OutputFormat = 'text' | 'json';

/** `--output`, refused with exit code 2 for any other format. */
export const outputOption = (): Option =>
  new Option('--output <format>', 'format of the output').choices(['text', 'json']).default('text');

/** Prints a result. Logs of `serve` are JSON lines on stderr instead. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printError(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Pads each column to its widest entry. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Rounds a duration for people: `3 min`, `2 h`, `5 d`. A time that is still to come is one of a clock that was ahead. */
export function age(ms: number): string {
  if (ms < 0) return `${age(-ms)} in the future`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** Prints an error with its code and what to do. */
export function printProblem(
  error: Readonly<Record<'message' | 'code', string>> & { readonly remedy?: string | undefined },
): void {
  printError(`${error.message} (${error.code})`);
  if (error.remedy !== undefined) printError(`Fix: ${error.remedy}`);
}
