import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const made: string[] = [];
process.on('exit', () => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true });
});

/** Makes an empty directory that is removed when the process exits. */
export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-test-'));
  made.push(directory);
  return directory;
}
