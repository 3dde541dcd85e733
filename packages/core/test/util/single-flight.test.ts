import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SingleFlight } from '../../src/util/single-flight.ts';

test('all who ask for the same get the outcome of one operation', async () => {
  const flights = new SingleFlight<number>();
  let calls = 0;
  const { promise, resolve } = Promise.withResolvers<number>();
  const asked = Array.from({ length: 1_000 }, () => flights.run('a', () => (calls++, promise)));
  assert.equal([calls, flights.size], [1, 1]);
  assert.is(flights.join('a'), asked[0]);
  resolve(7);
  assert.ok((await Promise.all(asked)).every((value) => value === 7));
  assert.equal([flights.size, flights.join('a')], [0, undefined]);
});

test('different things are asked for side by side', async () => {
  const flights = new SingleFlight<string>();
  const ends = ['a', 'b'].map((key) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    void flights.run(key, () => promise);
    return () => resolve(key);
  });
  assert.is(flights.size, 2);
  ends[1]!();
  assert.is(await flights.join('b'), 'b');
  assert.is(flights.size, 1);
  ends[0]!();
  assert.is(await flights.join('a'), 'a');
});

test('a failure is everyone’s, and the next one tries anew', async () => {
  const flights = new SingleFlight<number>();
  const fail = () => Promise.reject(new Error('x'));
  const outcomes = await Promise.allSettled([flights.run('a', fail), flights.run('a', fail)]);
  assert.ok(outcomes.every(({ status }) => status === 'rejected'));
  assert.is(await flights.run('a', () => Promise.resolve(1)), 1);
});

test('an operation that throws at once leaves no place taken', () => {
  const flights = new SingleFlight<number>();
  assert.throws(() =>
    flights.run('a', () => {
      throw new Error('x');
    }),
  );
  assert.is(flights.size, 0);
});

test.run();
