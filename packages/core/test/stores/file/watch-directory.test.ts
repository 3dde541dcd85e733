import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { watchDirectory } from '../../../src/stores/file/watch-directory.ts';
import { newDirectory, until } from '@teapot-kms/testing';

/** Counts the calls, and waits until there were so many. */
function counter() {
  let calls = 0;
  return {
    onChange: () => {
      calls++;
    },
    get calls() {
      return calls;
    },
    async reach(wanted: number): Promise<void> {
      await until(`there are ${wanted} calls`, () => calls >= wanted, { everyMs: 10 });
    },
  };
}

test('a change is told, and one that comes later is told again', async () => {
  const directory = newDirectory();
  const changes = counter();
  const stop = watchDirectory(directory, changes.onChange);
  writeFileSync(join(directory, 'a'), '');
  await changes.reach(1);
  await sleep(100);
  const before = changes.calls;
  writeFileSync(join(directory, 'b'), '');
  await changes.reach(before + 1);
  stop();
});

test('a burst of changes is told once or twice, not a hundred times', async () => {
  const directory = newDirectory();
  const changes = counter();
  const stop = watchDirectory(directory, changes.onChange);
  for (let i = 0; i < 100; i++) writeFileSync(join(directory, `f${i}`), '');
  await changes.reach(1);
  await sleep(200);
  assert.ok(changes.calls <= 10, `${changes.calls} calls`);
  stop();
});

test('after the end of a watch nothing is told, not even what has just changed', async () => {
  const directory = newDirectory();
  const changes = counter();
  const stop = watchDirectory(directory, changes.onChange);
  writeFileSync(join(directory, 'a'), '');
  stop();
  stop();
  await sleep(200);
  assert.is(changes.calls, 0);
});

test('a directory that is not there is not watched, and that is no error', () => {
  watchDirectory(join(newDirectory(), 'missing'), () => undefined)();
});

test('a directory that goes away is no error either', async () => {
  const directory = newDirectory();
  const stop = watchDirectory(directory, () => undefined);
  rmSync(directory, { recursive: true });
  await sleep(100);
  stop();
});

test.run();
