// A rotation on a cluster in memory, killed at every point and run again. What really happens is in e2e/test/rotate.test.ts.
import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { perform } from '../../src/rotate/perform.ts';
import type { Outcome, PerformOptions, RotationSteps } from '../../src/rotate/perform.ts';
import type { Step } from '../../src/rotate/plan.ts';
import { Killed, RotatingCluster } from '../support/rotating-cluster.ts';

const test = suite<{ cluster: RotatingCluster }>('a rotation');
test.before.each(async (context) => {
  context.cluster = await started();
});

async function started(): Promise<RotatingCluster> {
  const cluster = new RotatingCluster();
  await cluster.start();
  return cluster;
}

/** Runs the command once, and lets time pass until it ends. @param changed - steps that behave otherwise */
async function run(
  cluster: RotatingCluster,
  options: Partial<PerformOptions> = {},
  changed: Partial<RotationSteps> = {},
): Promise<Outcome & { said: readonly Step[] }> {
  const said: Step[] = [];
  const { clock } = cluster;
  const defaults = { through: 'retire', waitMs: 600_000, pollMs: 60_000, clock } as const;
  const steps = { ...cluster.steps, ...changed };
  const running = perform(steps, { ...defaults, say: ({ step }) => said.push(step), ...options });
  const ended = running.then(
    () => true,
    () => true,
  );
  while (!(await Promise.race([ended, settle().then(() => false)]))) await clock.advance(60_000);
  return { ...(await running), said: said.filter((step, index) => step !== said[index - 1]) };
}

/** Everything is as it must be after one rotation. */
async function assertRotated(cluster: RotatingCluster, old: string, when: string): Promise<void> {
  const manifest = await cluster.manifest();
  assert.equal(
    manifest.keys.map(({ state }) => state),
    ['retired', 'promoted'],
    when,
  );
  assert.is.not(manifest.primary, old, when);
  for (const keyId of cluster.objects.values()) assert.is(keyId, manifest.primary, when);
  assert.equal([...cluster.writes.values()], [1, 1, 1], `${when}: each object is written once`);
  for (const node of cluster.nodes) assert.is(node.manifest.hash, manifest.hash, when);
}

test('it is done step by step', async ({ cluster }) => {
  const { primary } = await cluster.manifest();
  const { end, next, said } = await run(cluster);
  assert.is(end, 'done');
  assert.equal(said, ['generate', 'promote', 'wait-for-servers', 'scan', 'rewrite', 'scan', 'retire']);
  assert.match(next.reason, 'and no older key is in use');
  await assertRotated(cluster, primary, 'at the end');
});

test('it can be killed anywhere, and goes on when it is run again', async ({ cluster }) => {
  await run(cluster);
  const points = cluster.points;
  for (let killAt = 0; killAt < points; killAt++) {
    const one = await started();
    const { primary } = await one.manifest();
    one.killAt = killAt;
    await run(one).then(
      () => assert.unreachable(`not killed at ${killAt}`),
      (error: unknown) => assert.instance(error, Killed),
    );
    one.killAt = Infinity;
    const { end, next } = await run(one);
    assert.is(end, 'done', next.reason);
    await assertRotated(one, primary, `killed at point ${killAt} of ${points}`);
  }
  assert.ok(points > 40, `${points} points`);
});

test('killed again and again, at every point that a run reaches, it still ends', async ({ cluster }) => {
  const { primary } = await cluster.manifest();
  let kills = 0;
  for (let step = 1; ; step++) {
    cluster.killAt = cluster.points + step;
    const outcome = await run(cluster).catch((error: unknown) => {
      assert.instance(error, Killed);
      kills++;
      return undefined;
    });
    if (outcome?.end === 'done') break;
  }
  assert.ok(kills > 3, `${kills} kills`);
  await assertRotated(cluster, primary, `after ${kills} kills`);
});

for (const [through, states, next] of [
  ['generate', ['promoted', 'pending'], 'promote'],
  ['promote', ['promoted', 'promoted'], 'wait-for-servers'],
  ['rewrite', ['promoted', 'promoted'], 'retire'],
] as const) {
  test(`--only-through ${through} stops before ${next}`, async ({ cluster }) => {
    const outcome = await run(cluster, { through });
    assert.equal([outcome.end, outcome.next.step], ['through', next]);
    assert.equal(
      (await cluster.manifest()).keys.map(({ state }) => state),
      states,
    );
    const again = await run(cluster, { through });
    assert.equal([again.end, again.next.step], ['through', next]);
  });
}

test('it waits for a person who copies the keyset, and no longer than it may', async ({ cluster }) => {
  cluster.manual = true;
  const { primary } = await cluster.manifest();
  const waited = await run(cluster);
  assert.equal([waited.end, waited.next.step], ['waited', 'wait-for-replicas']);
  assert.match(waited.next.reason, 'node-2 uses generation 1 of the keyset, and the store has generation 2');
  assert.equal(cluster.done, ['generate']);
  cluster.manual = false;
  assert.is((await run(cluster)).end, 'done');
  await assertRotated(cluster, primary, 'after the copy');
});

test('one run is one rotation, however young a primary may be', async ({ cluster }) => {
  const { steps } = cluster;
  const look: typeof steps.look = async (scan, asksServers) => ({
    ...(await steps.look(scan, asksServers)),
    renewAfterMs: 0,
  });
  const { end, next } = await run(cluster, {}, { look });
  assert.is(end, 'done');
  assert.match(next.remedy, 'another run may begin the next rotation');
  assert.equal(cluster.done, ['generate', 'promote', 'retire']);
});

test('a rewrite that moves nothing ends the run, and nothing is retired', async ({ cluster }) => {
  const { end, next } = await run(cluster, {}, { rewrite: () => Promise.resolve() });
  assert.is(end, 'blocked');
  assert.match(next.reason, /a rewrite has moved none of these objects:\nkey \S+: 3 secrets/);
  assert.equal(cluster.done, ['generate', 'promote']);
});

test('where KMS v1 has encrypted what a rewrite does not move, another provider is needed', async ({ cluster }) => {
  const { steps } = cluster;
  const scan = async () => {
    const report = await steps.scan();
    return { ...report, rows: report.rows.map((row) => ({ ...row, provider: 'kms:v1' })) };
  };
  const { end, next } = await run(cluster, {}, { scan, rewrite: () => Promise.resolve() });
  assert.is(end, 'blocked');
  assert.match(next.remedy, 'add a second KMS provider for this plugin before the first one');
});

test('a kube-apiserver that comes back with an older key makes the scan worthless', async ({ cluster }) => {
  const { steps, nodes } = cluster;
  let scans = 0;
  const scan = async () => {
    const report = await steps.scan();
    if (++scans === 2) nodes[0]!.switchedAt = cluster.clock.now() + 60_000;
    return report;
  };
  const { end, said } = await run(cluster, {}, { scan });
  assert.is(end, 'done');
  assert.equal(said.slice(-5), ['rewrite', 'scan', 'wait-for-servers', 'scan', 'retire']);
});

test('so does one that has used an older key while a long scan ran, and is back on the new one', async ({
  cluster,
}) => {
  const { steps, nodes, clock } = cluster;
  let scans = 0;
  const scan = async () => {
    const report = await steps.scan();
    if (++scans === 2) nodes[0]!.switchedAt = clock.now() - 180_000;
    return report;
  };
  const { end, said } = await run(cluster, {}, { scan });
  assert.is(end, 'done');
  assert.is(scans, 3);
  assert.equal(said.slice(-3), ['rewrite', 'scan', 'retire']);
});

test.run();
