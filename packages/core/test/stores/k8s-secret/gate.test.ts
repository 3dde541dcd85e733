import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Gate } from '../../../src/stores/k8s-secret/gate.ts';
import { impatient, patient } from '../../support/context.ts';

/** Work that the test ends. */
function work() {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  let begun = false;
  const run = () => {
    begun = true;
    return promise;
  };
  return { run, end: () => resolve(undefined), begun: () => begun };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('no more than its places are inside; the others follow in the order in which they came', async () => {
  const gate = new Gate(2);
  const all = Array.from({ length: 4 }, work);
  const done = all.map(({ run }) => gate.run(patient.signal, run));
  const begun = () => all.map((one) => one.begun());
  await turn();
  assert.equal(begun(), [true, true, false, false]);
  all[1]!.end();
  await turn();
  assert.equal(begun(), [true, true, true, false]);
  for (const one of all) one.end();
  await Promise.all(done);
});

test('a place is free again after work that failed', async () => {
  const gate = new Gate(1);
  await gate.run(patient.signal, () => Promise.reject(new Error('x'))).catch(() => undefined);
  assert.is(await gate.run(patient.signal, () => Promise.resolve(7)), 7);
});

test('a caller that gives up while it waits gets an error at once, and the next one gets the place', async () => {
  const gate = new Gate(1);
  const first = work();
  const running = gate.run(patient.signal, first.run);
  const { signal, giveUp } = impatient();
  const waiting = gate.run(signal, () => Promise.resolve());
  const next = gate.run(patient.signal, () => Promise.resolve('next'));
  giveUp();
  await rejectsWithCode(() => waiting, 'ERR_KMS_CANCELLED');
  first.end();
  await running;
  assert.is(await next, 'next');
});

test('a caller that has given up before does not run', async () => {
  const { signal, giveUp } = impatient();
  giveUp();
  await rejectsWithCode(() => new Gate(1).run(signal, () => Promise.resolve()), 'ERR_KMS_CANCELLED');
});

test.run();
