import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Turns } from '../../src/token-host/turns.ts';

test('the second begins when the first has ended, and what failed holds nobody up', async () => {
  const turns = new Turns();
  const seen: string[] = [];
  const first = Promise.withResolvers<undefined>();
  const failing = turns.take('token', () => first.promise);
  const second = turns.take('token', () => Promise.resolve(seen.push('second')));
  await new Promise(setImmediate);
  assert.equal(seen, []);
  first.reject(new Error('the first'));
  await second;
  assert.equal(seen, ['second']);
  assert.is(await failing.catch((error: unknown) => (error as Error).message), 'the first');
});

test('another name waits for nobody', async () => {
  const turns = new Turns();
  void turns.take('token', () => new Promise(() => undefined));
  assert.is(await turns.take('other', () => Promise.resolve(1)), 1);
});

test.run();
