import { FakeClock, settle } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Refresher } from '../../src/service/refresher.ts';

interface Options {
  readonly intervalMs?: number;
  readonly timeoutMs?: number;
  readonly run?: (signal: AbortSignal) => Promise<boolean>;
}

/** A refresher whose runs take until the test ends them. */
function make(options: Options = {}) {
  const clock = new FakeClock();
  const open: ((good: boolean) => void)[] = [];
  const runs: { at: number; signal: AbortSignal }[] = [];
  const run =
    options.run ??
    (() => {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      open.push(resolve);
      return promise;
    });
  const refresher = new Refresher({
    clock,
    intervalMs: options.intervalMs ?? 30_000,
    timeoutMs: options.timeoutMs ?? 10_000,
    run: (signal) => {
      runs.push({ at: clock.now(), signal });
      return run(signal);
    },
  });
  return { refresher, clock, runs, end: (good = true) => open.shift()?.(good) };
}

const good = () => Promise.resolve(true);
const bad = () => Promise.resolve(false);

test('a refresh gives back whether the run went well', async () => {
  assert.is(await make({ run: good }).refresher.refresh(), true);
  assert.is(await make({ run: bad }).refresher.refresh(), false);
});

test('all who ask in the same moment share one run', async () => {
  const { refresher, runs } = make({ run: good });
  await Promise.all(Array.from({ length: 1_000 }, () => refresher.refresh()));
  assert.is(runs.length, 1);
});

test('those who ask while a run is under way share one more: theirs must begin after they asked', async () => {
  const { refresher, runs, end } = make();
  const first = refresher.refresh();
  await settle();
  const later = Array.from({ length: 1_000 }, () => refresher.refresh());
  end(false);
  assert.is(await first, false);
  await settle();
  end(true);
  assert.ok((await Promise.all(later)).every(Boolean));
  assert.is(runs.length, 2);
});

test('requests share one run per second, and the first does not wait', async () => {
  const { refresher, clock, runs } = make({ run: good });
  await Promise.all(Array.from({ length: 100 }, () => refresher.refreshOnDemand()));
  assert.is(runs.length, 1);
  const later = Promise.all(Array.from({ length: 100 }, () => refresher.refreshOnDemand()));
  await clock.advance(999);
  assert.is(runs.length, 1);
  await clock.advance(1);
  assert.ok((await later).every(Boolean));
  assert.is(runs.length, 2);
});

test('stop ends the wait for the next run on demand', async () => {
  const { refresher, clock } = make({ run: good });
  await refresher.refreshOnDemand();
  const waiting = refresher.refreshOnDemand();
  refresher.stop();
  assert.is(await waiting, false);
  assert.is(clock.pending, 0);
});

test('no two runs are under way at a time', async () => {
  let [underWay, most] = [0, 0];
  const { refresher, clock } = make({
    intervalMs: 10,
    run: async () => {
      most = Math.max(most, ++underWay);
      await settle();
      underWay--;
      return true;
    },
  });
  for (let i = 0; i < 20; i++) {
    void refresher.refresh();
    await clock.advance(i);
  }
  await refresher.refresh();
  assert.is(most, 1);
});

test('the next run comes after the interval, give or take a quarter', async () => {
  const waits: number[] = [];
  for (let i = 0; i < 50; i++) {
    const { refresher, clock, runs } = make({ intervalMs: 1_000, run: good });
    await refresher.refresh();
    await clock.advance(1_250);
    waits.push(runs[1]!.at);
    refresher.stop();
  }
  assert.ok(waits.every((wait) => wait >= 750 && wait <= 1_250));
  assert.ok(Math.max(...waits) - Math.min(...waits) > 100, 'instances must not run in step');
});

test('after failures it comes sooner, then later and later, up to the interval', async () => {
  const { refresher, clock, runs } = make({ intervalMs: 30_000, run: bad });
  await refresher.refresh();
  await clock.advance(300_000);
  const waits = runs.slice(1).map(({ at }, index) => at - runs[index]!.at);
  [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].forEach((wait, index) => {
    assert.ok(
      waits[index]! >= wait * 0.75 && waits[index]! <= wait * 1.25,
      `${String(index)}: ${String(waits[index])}`,
    );
  });
});

test('one good run ends the back-off', async () => {
  let answer = false;
  const { refresher, clock, runs } = make({ intervalMs: 30_000, run: () => Promise.resolve(answer) });
  await refresher.refresh();
  await clock.advance(60_000);
  answer = true;
  await refresher.refresh();
  const [count, since] = [runs.length, clock.now()];
  await clock.advance(30_000 * 1.25);
  assert.ok(runs[count]!.at - since >= 30_000 * 0.75);
});

test('a refresh that was asked for puts the next one off', async () => {
  const { refresher, clock, runs } = make({ intervalMs: 1_000, run: good });
  for (let i = 0; i < 10; i++) {
    await refresher.refresh();
    await clock.advance(700);
  }
  assert.is(runs.length, 10);
});

test('a run that hangs is aborted after its time', async () => {
  const { refresher, clock, runs, end } = make({ timeoutMs: 10_000 });
  const refreshed = refresher.refresh();
  await clock.advance(9_999);
  assert.not.ok(runs[0]!.signal.aborted);
  await clock.advance(1);
  assert.ok(runs[0]!.signal.aborted);
  assert.match(String(runs[0]!.signal.reason), /did not answer within 10000 ms/);
  end(false);
  assert.is(await refreshed, false);
});

test('stop aborts the run that is under way and lets no other begin', async () => {
  const { refresher, clock, runs, end } = make();
  const first = refresher.refresh();
  await settle();
  const second = refresher.refresh();
  refresher.stop();
  assert.ok(runs[0]!.signal.aborted);
  end(false);
  assert.equal(await Promise.all([first, second]), [false, false]);
  assert.is(await refresher.refresh(), false);
  await clock.advance(600_000);
  assert.is(runs.length, 1);
  assert.is(clock.pending, 0);
});

test('a run that throws has failed, and the next one comes', async () => {
  const { refresher, clock, runs } = make({ run: () => Promise.reject(new Error('thrown')) });
  assert.is(await refresher.refresh(), false);
  await clock.advance(700);
  assert.is(runs.length, 2);
  refresher.stop();
});

test.run();
