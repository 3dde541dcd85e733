// Random sequences of what operators do to keysets, on purpose and by mistake, on three replicas: no ciphertext is lost that could be kept.
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MANIFEST_NAME } from '../../src/keyset/manifest.ts';
import { figure } from '../support/figure.ts';
import { BACKUPS, Fleet, REPLICAS } from '../support/fleet.ts';
import { fuzzRuns } from '../support/fuzz.ts';
import { DiskDirectory, MemoryDirectory } from '../support/keyset-directories.ts';
import type { Files, KeysetDirectory } from '../support/keyset-directories.ts';
import { Operator } from '../support/operator.ts';

const HOUR_MS = 3_600_000;

/** What is copied. A mirror also removes what is not in the copied directory. */
type Part = 'mirror' | 'all' | 'manifest' | 'keys';

/** Most operators change the keyset on their first node. */
const at = fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat(REPLICAS - 1) });
const place = fc.nat(REPLICAS + BACKUPS - 1);
const which = fc.nat(3);
const noticed = fc.boolean();
const step = <T extends string, F extends object>(what: T, fields: { [K in keyof F]: fc.Arbitrary<F[K]> }) =>
  fc.record(fields).map((values) => ({ what, ...(values as F) }));

const steps = fc.oneof(
  { weight: 3, arbitrary: step('generate', { at }) },
  { weight: 2, arbitrary: step('rotate', { at, copies: fc.constantFrom<Part>('all', 'all', 'manifest', 'keys') }) },
  { weight: 2, arbitrary: step('promote', { at, which, verified: fc.constant(true) }) },
  { weight: 2, arbitrary: step('promote', { at, which, verified: fc.constant(false) }) },
  { weight: 2, arbitrary: step('retire', { at, which }) },
  { weight: 1, arbitrary: step('restore', { at, which }) },
  { weight: 2, arbitrary: step('destroy', { at, which, waited: fc.boolean() }) },
  {
    weight: 6,
    arbitrary: step('copy', {
      from: place,
      to: place,
      part: fc.constantFrom<Part>('mirror', 'all', 'manifest', 'keys'),
      noticed,
    }),
  },
  { weight: 3, arbitrary: step('copy to all', { from: place }) },
  {
    weight: 2,
    arbitrary: step('damage', {
      at,
      which,
      how: fc.constantFrom('random', 'short', 'gone', 'swapped', 'manifest'),
      noticed,
    }),
  },
  { weight: 1, arbitrary: step('lose', { at, noticed }) },
  {
    weight: 2,
    arbitrary: step('records fail', {
      at,
      reads: fc.constantFrom(undefined, 'EIO', 'EMFILE'),
      writes: fc.constantFrom(undefined, 'ENOSPC', 'EROFS'),
    }),
  },
  { weight: 1, arbitrary: step('records back', { at }) },
  { weight: 2, arbitrary: step('restart', { at }) },
  { weight: 3, arbitrary: step('encrypt', { at }) },
  { weight: 2, arbitrary: step('decrypt', { at, which }) },
  { weight: 1, arbitrary: step('wait', { ms: fc.constantFrom(40_000, 200_000) }) },
  { weight: 1, arbitrary: step('clock', { hours: fc.constantFrom(-1_000_000, -1, 1, 200) }) },
  { weight: 2, arbitrary: step('advice', { at }) },
);
type Step = typeof steps extends fc.Arbitrary<infer S> ? S : never;

async function run(fleet: Fleet, step: Step): Promise<void> {
  switch (step.what) {
    case 'generate':
      return fleet.generate(step.at);
    case 'rotate':
      await fleet.generate(step.at);
      await copyToAll(fleet, step.at, step.copies);
      await fleet.promote(step.at, 0, true);
      return copyToAll(fleet, step.at);
    case 'promote':
      return fleet.promote(step.at, step.which, step.verified);
    case 'retire':
      return fleet.retire(step.at, step.which);
    case 'restore':
      return fleet.restore(step.at, step.which);
    case 'destroy':
      if (step.waited) fleet.clock.wallAtStart += 200 * HOUR_MS;
      return fleet.destroy(step.at, step.which);
    case 'copy':
      return fleet.replace(step.to, copied(fleet.files(step.from), fleet.files(step.to), step.part), step.noticed);
    case 'copy to all':
      return copyToAll(fleet, step.from);
    case 'damage':
      return fleet.replace(step.at, damaged(fleet.files(step.at), step), step.noticed);
    case 'lose':
      return fleet.replace(step.at, new Map(), step.noticed);
    case 'records fail':
      return fleet.failRecords(step.at, step);
    case 'records back':
      return fleet.repairRecords(step.at);
    case 'restart':
      return fleet.restart(step.at);
    case 'encrypt':
      return fleet.encrypt(step.at);
    case 'decrypt':
      return fleet.decrypt(step.at, step.which);
    case 'wait':
      return fleet.clock.advance(step.ms);
    case 'clock':
      fleet.clock.wallAtStart += step.hours * HOUR_MS;
      return;
    case 'advice':
      return new Operator(fleet).followAdvice(step.at);
  }
}

async function copyToAll(fleet: Fleet, from: number, part: Part = 'all'): Promise<void> {
  const files = fleet.files(from);
  for (let to = 0; to < REPLICAS; to++) await fleet.replace(to, copied(files, fleet.files(to), part), true);
}

/** What is in a directory after another one was copied to it. */
function copied(from: Files, to: Files, part: Part): Files {
  if (part === 'mirror') return from;
  const wanted = [...from].filter(([name]) => part === 'all' || (name === MANIFEST_NAME) === (part === 'manifest'));
  return new Map([...to, ...wanted]);
}

/** @param which - of its files */
function damaged(files: Files, { which, how }: { which: number; how: string }): Files {
  const names = [...files.keys()].filter((name) => (name === MANIFEST_NAME) === (how === 'manifest')).sort();
  const name = names[which % Math.max(1, names.length)];
  if (name === undefined) return files;
  const bytes = files.get(name)!;
  const left = new Map(files);
  if (how === 'gone') left.delete(name);
  else if (how === 'random') left.set(name, randomBytes(32));
  else if (how === 'swapped') left.set(name, files.get(names[(which + 1) % names.length]!)!);
  else left.set(name, bytes.subarray(0, bytes.length / 2));
  return left;
}

async function neverLost(name: string, runs: number, newFleet: () => Fleet): Promise<void> {
  const seen = { sequences: 0, steps: 0, kept: 0, checks: 0, gone: 0 };
  const happened = new Map<string, number>();
  const property = fc.asyncProperty(fc.array(steps, { maxLength: 20, size: 'max' }), async (sequence) => {
    const fleet = newFleet();
    try {
      await fleet.start();
      for (const step of sequence) {
        await run(fleet, step);
        await fleet.inspect();
      }
      const { kept, gone, lost } = await new Operator(fleet).recover();
      assert.is(lost.length, 0, `${lost.length} ciphertexts lost`);
      seen.sequences++;
      seen.steps += sequence.length;
      seen.kept += kept.length;
      seen.gone += gone;
      seen.checks += fleet.checks;
      for (const [what, times] of fleet.happened) happened.set(what, (happened.get(what) ?? 0) + times);
    } finally {
      await fleet.stop();
    }
  });
  await fc.assert(property, { numRuns: runs, includeErrorInReport: true });
  const { sequences, steps: done, kept, checks, gone } = seen;
  const events = [...happened].map(([what, times]) => `${times} ${what}`).join(', ');
  figure(
    `keys are never lost, ${name}: ${sequences} sequences, ${done} steps (${events}), ${checks} decrypts; of ${kept} ciphertexts whose key was left anywhere, 0 lost; of ${gone} others, operators had overwritten or destroyed every copy of the key`,
  );
}

const inMemory = (): KeysetDirectory => new MemoryDirectory();

test('whatever operators do to three replicas, keys in memory stay, a former primary never seals, and nothing is lost', () =>
  neverLost('in memory', Math.min(fuzzRuns(150), 100_000), () => new Fleet(inMemory)));

test('keysets of version 1: the same for what is in memory', () =>
  neverLost('version 1', Math.min(fuzzRuns(50), 20_000), () => new Fleet(inMemory, 1)));

test('the same with real directories', () => neverLost('on disk', 10, () => new Fleet(() => new DiskDirectory())));

test.run();
