// A migration on a cluster in memory, killed at every point and run again. What really happens is in e2e/test/migrate.test.ts.
import { FakeClock, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { performMigration } from '../../src/migrate/perform.ts';
import type { MigrationOptions, MigrationOutcome, MigrationSteps, Seen } from '../../src/migrate/perform.ts';
import type { ScanReport } from '../../src/inspect/scan-report.ts';

class Killed extends Error {}

/** Configurations a, b, c: `a` writes to the old place, `b` and `c` to the new one, and `c` cannot read the old one. */
const NEXT: Readonly<Record<string, string | undefined>> = { a: 'b', b: 'c' };

class MigratingCluster {
  readonly clock = new FakeClock();
  file = 'a';
  formers: readonly string[] = [];
  /** What each kube-apiserver has loaded. */
  readonly loaded = ['a', 'a'];
  /** Where the objects are, and how often each was written. */
  readonly objects = new Map([1, 2, 3].map((id) => [id, { place: 'old', writes: 0 }]));
  installs = true;
  refuses = false;
  started = [1, 2];
  killAt = Infinity;
  points = 0;

  #point(): void {
    if (this.points++ === this.killAt) throw new Killed();
  }

  readonly steps: MigrationSteps = {
    look: async () => {
      this.#point();
      // A kube-apiserver loads its file some time after it was changed.
      this.loaded.pop();
      this.loaded.unshift(this.file);
      return Promise.resolve(this.seen());
    },
    configure: async (text) => {
      this.#point();
      if (!this.installs) return false;
      this.file = text;
      this.#point();
      return Promise.resolve(true);
    },
    scan: async () => {
      this.#point();
      return Promise.resolve({ objects: this.#elsewhere().length } as unknown as ScanReport);
    },
    remainder: (scan) => ({
      objects: scan.objects,
      resources: ['secrets'],
      found: `old: ${scan.objects} secrets`,
      v1: false,
    }),
    rewrite: async () => {
      for (const object of this.#elsewhere()) {
        this.#point();
        if (this.refuses) continue;
        object.place = 'new';
        object.writes++;
      }
      return Promise.resolve();
    },
  };

  #elsewhere() {
    return [...this.objects.values()].filter(({ place }) => place === 'old');
  }

  seen(): Seen {
    assert.ok(this.file !== 'c' || this.#elsewhere().length === 0, 'objects that nobody can read');
    const next = NEXT[this.file];
    return {
      order: {
        hash: this.file,
        writes: this.file !== 'a',
        resources: ['secrets'],
        next: next === undefined ? undefined : { change: `to ${next}`, text: next },
      },
      file: 'encryption.yaml',
      keyset: undefined,
      formers: this.formers,
      servers: this.loaded.map((configHash, index) => ({
        server: `server-${index}`,
        keyIdHash: undefined,
        forMs: 0,
        since: this.started[index]!,
        configHash,
      })),
      loaded: false,
      settleMs: 180_000,
    };
  }
}

async function run(
  cluster: MigratingCluster,
  options: Partial<MigrationOptions> = {},
): Promise<MigrationOutcome & { said: readonly string[] }> {
  const said: string[] = [];
  const { clock } = cluster;
  const defaults = { dryRun: false, waitMs: 600_000, pollMs: 60_000, clock };
  const running = performMigration(cluster.steps, { ...defaults, say: ({ step }) => said.push(step), ...options });
  const ended = running.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([ended, settle().then(() => false)]))) await clock.advance(60_000);
  return { ...(await running), said: said.filter((step, index) => step !== said[index - 1]) };
}

function assertMoved({ objects, file }: MigratingCluster, when: string): void {
  assert.is(file, 'c', when);
  for (const object of objects.values()) assert.equal(object, { place: 'new', writes: 1 }, when);
}

test('it is done step by step', async () => {
  const cluster = new MigratingCluster();
  const { end, said } = await run(cluster);
  assert.is(end, 'done');
  const [load, write] = ['wait-for-configuration', 'wait-for-servers'];
  assert.equal(said, ['configure', load, write, 'scan', 'rewrite', 'scan', 'configure', load, write, 'scan']);
  assertMoved(cluster, 'at the end');
});

test('it can be killed anywhere, and goes on when it is run again', async () => {
  const whole = new MigratingCluster();
  await run(whole);
  for (let killAt = 0; killAt < whole.points; killAt++) {
    const cluster = new MigratingCluster();
    cluster.killAt = killAt;
    await run(cluster).then(
      () => assert.unreachable(`not killed at ${killAt}`),
      (error: unknown) => assert.instance(error, Killed),
    );
    cluster.killAt = Infinity;
    assert.is((await run(cluster)).end, 'done');
    assertMoved(cluster, `killed at point ${killAt} of ${whole.points}`);
  }
  assert.ok(whole.points > 15, `${whole.points} points`);
});

test('a dry run says the next step, and takes none', async () => {
  const cluster = new MigratingCluster();
  const { end, next, said } = await run(cluster, { dryRun: true });
  assert.equal([end, next.step, said.length, cluster.file], ['planned', 'configure', 0, 'a']);
});

test('where a person installs the configuration, it stops, and goes on after that', async () => {
  const cluster = new MigratingCluster();
  cluster.installs = false;
  const { end, next } = await run(cluster);
  assert.equal([end, next.step], ['blocked', 'configure']);
  cluster.file = 'b';
  assert.equal((await run(cluster)).next.step, 'configure');
  cluster.file = 'c';
  assert.is((await run(cluster)).end, 'done');
  assertMoved(cluster, 'at the end');
});

test('stores that nothing needs are for a person to drop', async () => {
  const cluster = new MigratingCluster();
  cluster.formers = ['file:/old'];
  const { end, next } = await run(cluster);
  assert.equal([end, next.step], ['blocked', 'drop-stores']);
  assert.match(next.reason, 'no object needs file:/old');
  assert.match(next.remedy, 'keep a backup');
  assertMoved(cluster, 'before that');
});

test('a kube-apiserver that never loads the configuration: nothing is written, and it waits no longer than it may', async () => {
  const cluster = new MigratingCluster();
  cluster.file = 'b';
  Object.assign(cluster.steps, {
    look: () => Promise.resolve({ ...cluster.seen(), servers: [{ ...SERVER, configHash: 'a' }] }),
  });
  const { end, next } = await run(cluster);
  assert.equal([end, next.step], ['waited', 'wait-for-configuration']);
  assert.match(next.reason, 'server-1 has loaded another EncryptionConfiguration');
  assert.equal(
    [...cluster.objects.values()].map(({ writes }) => writes),
    [0, 0, 0],
  );
});

test('one that does not show what it has loaded counts as one that has not, unless an operator says so of this configuration', async () => {
  const cluster = new MigratingCluster();
  cluster.file = 'a';
  const look = (loaded: string) => () =>
    Promise.resolve({ ...cluster.seen(), servers: [SERVER], loaded: cluster.file === loaded });
  Object.assign(cluster.steps, { look: look('none') });
  const { end, next } = await run(cluster);
  assert.equal([end, next.step], ['waited', 'wait-for-configuration']);
  assert.match(next.remedy, '--configuration-loaded');
  Object.assign(cluster.steps, { look: look('a') });
  const once = await run(cluster);
  assert.equal([once.end, once.next.step, cluster.file], ['waited', 'wait-for-configuration', 'b']);
  Object.assign(cluster.steps, { look: look('b') });
  assert.is((await run(cluster)).next.step, 'wait-for-configuration');
  assert.is(cluster.file, 'c');
  Object.assign(cluster.steps, { look: look('c') });
  assert.is((await run(cluster)).end, 'done');
});

test('a scan counts only if no kube-apiserver has come or started again while it ran', async () => {
  const cluster = new MigratingCluster();
  const steps = { ...cluster.steps };
  let scans = 0;
  Object.assign(cluster.steps, {
    scan: () => {
      if (++scans === 1) cluster.started = [1, 3];
      return steps.scan();
    },
  });
  const { said } = await run(cluster);
  assert.equal(said.slice(3, 6), ['scan', 'rewrite', 'scan']);
  assert.is(scans, 4);
});

test('a rewrite that moves nothing ends the run, and nothing is dropped', async () => {
  const cluster = new MigratingCluster();
  cluster.refuses = true;
  const { end, next } = await run(cluster);
  assert.equal([end, next.step, cluster.file], ['blocked', 'blocked', 'b']);
  assert.match(next.reason, 'moved none of these objects:\nold: 3 secrets');
});

const SERVER = { server: 'server-1', keyIdHash: undefined, forMs: 0, since: 1 };

test.run();
