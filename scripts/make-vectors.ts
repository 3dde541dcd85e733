/**
 * Writes the test vectors of the envelope (`docs/spec/envelope-v1.md` §12) and of keysets (`docs/spec/keyset-v2.md` §9). All keys and
 * nonces are fixed, so the files are always the same.
 *
 * usage: node --conditions=teapot-source scripts/make-vectors.ts [--check]
 *
 * With --check nothing is written. The exit code is 1 if a committed file differs, is missing or is superfluous, and the names of
 * these files are printed.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { envelopeVectors } from './envelope-vectors.ts';
import { keysetVectors } from './keyset-vectors.ts';

const directory = join(import.meta.dirname, '../packages/core/test/vectors');
const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });

const textOf = (vector: object): string => `${JSON.stringify(vector, undefined, 2)}\n`;
const wanted = new Map([
  ...envelopeVectors().map((vector) => [`envelope-v1/${vector.name}.json`, textOf(vector)] as const),
  ...Object.entries(keysetVectors()).map(([name, vectors]) => [name, textOf(vectors)] as const),
]);

function readCommitted(): Map<string, string> {
  const generated = (name: string) => /^(envelope-v1|keyset-v2)\/.*\.json$/.test(name);
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(generated);
  return new Map(names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}

if (values.check) {
  const committed = readCommitted();
  const names = [...new Set([...wanted.keys(), ...committed.keys()])].sort();
  const differing = names.filter((name) => wanted.get(name) !== committed.get(name));
  for (const name of differing) console.error(`packages/core/test/vectors/${name} differs; run npm run vectors`);
  if (differing.length > 0) process.exitCode = 1;
  else console.log(`${String(wanted.size)} files of vectors are up to date`);
} else {
  for (const [name, text] of wanted) {
    mkdirSync(dirname(join(directory, name)), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  console.log(`${String(wanted.size)} files of vectors written to ${directory}`);
}
