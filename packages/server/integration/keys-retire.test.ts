// A key is retired on the evidence of a scan, and the plan of a rotation says what comes next.
import { readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { TallyRow } from '../src/inspect/tally.ts';
import { rowOf, scanOf } from '../test/support/scans.ts';
import { teapot, TestSite } from './support/running-plugin.ts';
import type { CliResult } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('retire and rotate');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

function statesIn(site: TestSite): string[] {
  const listed = teapot('keys', 'list', '--uri', site.keys('main'), '--output', 'json').stdout;
  return (JSON.parse(listed) as { keys: { state: string }[] }).keys.map(({ state }) => state);
}

interface Scanned {
  readonly retire: (...args: string[]) => CliResult;
  readonly scan: (name: string, startedAt: Date, ...rows: readonly TallyRow[]) => string;
  readonly first: string;
  readonly second: string;
}

/** A keyset whose second key was promoted long ago, and files of scans. */
function promotedLongAgo(site: TestSite): Scanned {
  const [first, second] = [site.generate('main'), site.generate('main')];
  site.promote('main', second);
  const manifest = site.path('keys/main/keyset.yaml');
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replaceAll(/since: .*/g, 'since: 2026-01-01T00:00:00.000Z'));
  return {
    first,
    second,
    retire: (...args) => teapot('keys', 'retire', '--uri', site.keys('main'), first, ...args),
    scan: (name, startedAt, ...rows) => {
      writeFileSync(site.path(name), JSON.stringify(scanOf(rows, { startedAt: startedAt.toISOString() })));
      return site.path(name);
    },
  };
}

test('retire takes a scan as evidence, and says what it covers', ({ site }) => {
  const { second, retire, scan } = promotedLongAgo(site);
  const file = scan('scan.json', new Date(), rowOf(second));
  const configuration = site.path('enc.yaml');
  writeFileSync(configuration, 'kind: EncryptionConfiguration\nresources: [{ resources: [secrets], providers: [] }]\n');
  const dry = retire('--scan', file, '--dry-run');
  assert.is(dry.code, 0, dry.stderr);
  assert.match(dry.stderr, 'cluster c1 below /registry/: scanned /registry/: 3 objects; encrypted are secrets');
  assert.match(dry.stderr, 'pass --encryption-config FILE');
  const { code, stderr } = retire('--scan', file, '--encryption-config', configuration, '--cluster-id', 'c1');
  assert.is(code, 0, stderr);
  assert.equal(statesIn(site), ['retired', 'promoted']);
});

test('retire refuses a scan that finds the key or is too old, and changes nothing', ({ site }) => {
  const { first, second, retire, scan } = promotedLongAgo(site);
  const needed = retire('--scan', scan('needed.json', new Date(), rowOf(second), rowOf(first)));
  assert.is(needed.code, 1);
  assert.match(needed.stderr, `needed.json: key ${first} is needed by 3 secrets`);
  assert.match(needed.stderr, 'Fix: rewrite these resources, and scan again');
  const old = retire('--scan', scan('old.json', new Date('2026-01-01T00:03:00Z'), rowOf(second)));
  assert.is(old.code, 1);
  assert.match(old.stderr, 'Fix: rewrite all data, and scan after 2026-01-01T00:04:00.000Z');
  assert.equal(statesIn(site), ['promoted', 'promoted']);
});

test('retire refuses a file that is no scan, and options that belong to a scan without one', ({ site }) => {
  const { second, retire, scan } = promotedLongAgo(site);
  const none = retire('--scan', site.path('keys/main/keyset.yaml'));
  assert.is(none.code, 1);
  assert.match(none.stderr, 'keyset.yaml: not a report of a scan: it is not JSON');
  assert.is(retire('--scan', site.path('missing.json')).code, 1);
  assert.is(retire('--cluster-id', 'c1').code, 2);
  assert.is(retire('--scan', scan('scan.json', new Date(), rowOf(second)), '--unverified').code, 2);
});

test('rotate --dry-run prints the next step, and exits with 3 where it waits', ({ site }) => {
  const rotate = (...args: string[]) => teapot('rotate', '--uri', site.keys('main'), '--replicas', '1', ...args);
  const first = site.generate('main');
  const done = rotate('--dry-run');
  assert.is(done.code, 0, done.stderr);
  assert.match(done.stdout, `step  done\nwhy   key ${first} is the primary since`);
  const due = rotate('--dry-run', '--older-than', '0s', '--output', 'json');
  assert.is(due.code, 3);
  assert.is((JSON.parse(due.stdout) as { step: string }).step, 'preflight');
  const second = site.generate('main');
  assert.match(rotate('--dry-run').stdout, 'step  wait-for-replicas\nwhy   0 of 1 replicas have reported');
  site.promote('main', second);
  assert.match(rotate('--dry-run').stdout, 'step  wait-for-servers\nwhy   no kube-apiserver has been looked at');
});

test('rotate without a cluster: it does what needs none, and says what it waits for', ({ site }) => {
  const rotate = (...args: string[]) => teapot('rotate', '--uri', site.keys('main'), '--replicas', '1', ...args);
  assert.match(rotate('--wait', '0s').stdout, 'Only you can go on. Then run the command again.\nstep  blocked');
  site.generate('main');
  const young = rotate();
  assert.is(young.code, 0, young.stderr);
  assert.match(young.stdout, 'Nothing is left to do.\nstep  done');
  const due = rotate('--older-than', '0s', '--wait', '0s', '--fetch', 'echo no-report; exit 1');
  assert.is(due.code, 3);
  assert.match(due.stderr, 'preflight: 0 of 1 replicas have reported');
  assert.match(due.stderr, 'echo no-report; exit 1: ');
  assert.match(due.stdout, 'This step has waited as long as it may (--wait).');
  const through = rotate('--only-through', 'generate', '--output', 'json');
  assert.is((JSON.parse(through.stdout) as { end: string }).end, 'done');
  assert.equal(statesIn(site), ['promoted']);
});

test('rotate copies the keyset with --distribute, and ends where that fails', ({ site }) => {
  site.generate('main');
  const rotate = (command: string) =>
    teapot('rotate', '--uri', site.keys('main'), '--replicas', '1', '--distribute', command);
  const copied = rotate(`cp -r ${site.path('keys/main')} ${site.path('copy')}`);
  assert.is(copied.code, 0, copied.stderr);
  assert.match(readFileSync(site.path('copy/keyset.yaml'), 'utf8'), 'generation: 1');
  const failed = rotate('echo no route to node-2 >&2; false');
  assert.is(failed.code, 1);
  assert.match(failed.stderr, 'no route to node-2');
});

test('rotate refuses what would weaken its evidence', ({ site }) => {
  site.generate('main');
  const rotate = (...args: string[]) => teapot('rotate', '--uri', site.keys('main'), ...args);
  assert.is(rotate().code, 2, 'without --replicas');
  for (const wrong of [
    ['--settle', '2m'],
    ['--scan', 'scan.json'],
    ['--server-metrics', 'a.txt'],
    ['--rewrite-rate', '0'],
    ['--only-through', 'hope'],
  ]) {
    const { code, stderr } = rotate('--replicas', '1', ...wrong);
    assert.is(code, 2, `${wrong.join(' ')}: ${stderr}`);
  }
});

test.run();
