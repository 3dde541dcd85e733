import { FakeClock } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { systemClock } from '../../src/util/clock.ts';

test('the system’s clock goes on and calls after the time, unless cancelled', async () => {
  const calls: string[] = [];
  const started = systemClock.now();
  systemClock.after(10, () => calls.push('kept'));
  systemClock.after(10, () => calls.push('cancelled'))();
  await sleep(50);
  assert.ok(systemClock.now() - started >= 40);
  assert.equal(calls, ['kept']);
});

for (const [what, code, printed] of [
  ['a sleep keeps the process alive', "await sleep(systemClock, 20); console.log('slept');", 'slept\n'],
  ['a call that nobody waits for does not', "systemClock.after(60_000, () => console.log('late'));", ''],
] as const) {
  test(what, () => {
    const clock = import.meta.resolve('../../src/util/clock.ts');
    const script = `import { sleep, systemClock } from ${JSON.stringify(clock)}; ${code}`;
    assert.is(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }), printed);
  });
}

test('the fake clock runs what is due in order, each at its time, and what that sets off', async () => {
  const clock = new FakeClock();
  const calls: string[] = [];
  const note = (name: string) => () => calls.push(`${name} at ${String(clock.now())}`);
  clock.after(20, note('second'));
  clock.after(10, () => {
    note('first')();
    void Promise.resolve().then(() => clock.after(5, note('from within')));
  });
  clock.after(15, note('cancelled'))();
  clock.after(31, note('too late'));
  await clock.advance(30);
  assert.equal(calls, ['first at 10', 'from within at 15', 'second at 20']);
  assert.is(clock.now(), 30);
  assert.is(clock.pending, 1);
});

test.run();
