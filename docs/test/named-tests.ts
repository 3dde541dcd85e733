import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { root } from './run-blocks.ts';

/** Asserts that each test exists that a table names as `` `FILE`: TITLE; TITLE ``. @param least - how many there are at least */
export function assertTestsExist(document: string, least: number): void {
  const named = [...document.matchAll(/`([\w./-]+\.test\.ts)`: ([^|]+?) \|/g)];
  assert.ok(named.length >= least, `${named.length} tests are named`);
  for (const [, file, titles] of named) {
    const source = readFileSync(join(root, file!), 'utf8');
    for (const title of titles!.split('; ')) assert.ok(source.includes(title), `${file!}: no test "${title}"`);
  }
}
