/**
 * Writes the test vectors of the envelope (`docs/spec/envelope-v1.md` §12). Each file shows one success or one failure. All keys
 * and nonces are fixed, so the files are always the same.
 *
 * usage: node --conditions=teapot-source scripts/make-vectors.ts [--check]
 *
 * With --check nothing is written. The exit code is 1 if a committed file differs, is missing or is superfluous, and the names of
 * these files are printed.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { envelopeVectors } from './envelope-vectors.ts';

const directory = join(import.meta.dirname, '../packages/core/test/vectors/envelope-v1');
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

const wanted = new Map(
  envelopeVectors().map((vector) => [`${vector.name}.json`, `${JSON.stringify(vector, undefined, 2)}\n`]),
);

function readCommitted(): Map<string, string> {
  try {
    return new Map(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map();
    throw error;
  }
}

if (values.check) {
  const committed = readCommitted();
  const names = [...new Set([...wanted.keys(), ...committed.keys()])].sort();
  const differing = names.filter((name) => wanted.get(name) !== committed.get(name));
  for (const name of differing)
    console.error(`packages/core/test/vectors/envelope-v1/${name} differs; run npm run vectors`);
  if (differing.length > 0) process.exitCode = 1;
  else console.log(`${String(wanted.size)} vectors are up to date`);
} else {
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of wanted) writeFileSync(join(directory, name), text);
  console.log(`${String(wanted.size)} vectors written to ${directory}`);
}
