import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Dispatcher } from '../../../../src/stores/pkcs11/token-host/child/dispatcher.ts';
import type { Done } from '../../../../src/stores/pkcs11/token-host/child/worker.ts';
import type { RepliesAbout, Reply, Request } from '../../../../src/stores/pkcs11/token-host/protocol.ts';

interface Batch {
  readonly requests: readonly Request[];
  /**
   * @param eachMs - what each of them is said to have taken
   * @param done - how many were begun; all where it is absent
   */
  readonly finish: (eachMs?: number, sessionsOpened?: number, done?: number) => void;
  readonly fail: (error: Error) => void;
}

/** A dispatcher over threads whose work ends when the test says so. */
function dispatcherWith(threads: number) {
  const batches: Batch[] = [];
  const messages: ({ replies: readonly Reply[] } & RepliesAbout)[] = [];
  const dispatcher = new Dispatcher({
    run: (requests) => {
      const { promise, resolve, reject } = Promise.withResolvers<Done>();
      const finish = (eachMs = 10, sessionsOpened = 0, done = requests.length) => {
        const begun = requests.slice(0, done);
        const replies = begun.map(({ id }) => ({ id, value: id }));
        const keyMs = begun.filter(({ ask }) => ask.op === 'unwrap').map(() => eachMs);
        resolve({ replies, tookMs: eachMs * done, keyMs, sessionsOpened });
      };
      batches.push({ requests, finish, fail: reject });
      return promise;
    },
    onReplies: (replies, about) => messages.push({ replies, ...about }),
  });
  for (let thread = 0; thread < threads; thread++) dispatcher.addThread();
  return { dispatcher, batches, messages };
}

let lastId = 0;
const requests = (count: number, ask: Request['ask'] = { op: 'token', token: {} }): Request[] =>
  Array.from({ length: count }, () => ({ id: ++lastId, ask }));
const UNWRAP: Request['ask'] = { op: 'unwrap', token: {}, label: 'kek', keyId: 'key', wrapped: Buffer.alloc(1) };
const idsOf = (list: readonly { readonly id: number }[]) => list.map(({ id }) => id);

test('one request goes to a thread at once', () => {
  const { dispatcher, batches } = dispatcherWith(2);
  const [request] = requests(1);
  dispatcher.add([request!]);
  assert.equal(idsOf(batches[0]!.requests), [request!.id]);
});

test('of a slow token each thread gets one request, in order, and the next when it is done', async () => {
  const { dispatcher, batches } = dispatcherWith(2);
  const asked = requests(4);
  dispatcher.add(asked);
  assert.equal(
    batches.map((batch) => idsOf(batch.requests)),
    [[asked[0]!.id], [asked[1]!.id]],
  );
  batches[1]!.finish();
  await turn();
  assert.equal(idsOf(batches[2]!.requests), [asked[2]!.id]);
  assert.is(batches.length, 3);
});

/** Lets a dispatcher of one thread learn that an operation takes next to no time. */
async function learnThatItIsFast({ dispatcher, batches }: ReturnType<typeof dispatcherWith>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    dispatcher.add(requests(1));
    batches.at(-1)!.finish(0);
    await turn();
  }
}

test('of a fast token a thread gets many requests at a time, at most 32', async () => {
  const made = dispatcherWith(1);
  await learnThatItIsFast(made);
  const before = made.batches.length;
  made.dispatcher.add(requests(100));
  assert.is(made.batches[before]!.requests.length, 32);
});

test('without a thread requests wait for the first', () => {
  const { dispatcher, batches } = dispatcherWith(0);
  dispatcher.add(requests(2));
  assert.is(batches.length, 0);
  dispatcher.addThread();
  assert.is(batches.length, 1);
});

test('free threads share what there is', async () => {
  const made = dispatcherWith(4);
  await learnThatItIsFast(made);
  const before = made.batches.length;
  made.dispatcher.add(requests(10));
  assert.equal(
    made.batches.slice(before).map((batch) => batch.requests.length),
    [3, 3, 2, 2],
  );
});

test('a token that becomes slow gets single requests again', async () => {
  const made = dispatcherWith(1);
  await learnThatItIsFast(made);
  made.dispatcher.add(requests(1));
  made.batches.at(-1)!.finish(100);
  await turn();
  made.dispatcher.add(requests(10));
  assert.is(made.batches.at(-1)!.requests.length, 1);
});

test('replies of one turn of the event loop go in one message, with the sessions that were opened for them', async () => {
  const { dispatcher, batches, messages } = dispatcherWith(3);
  const asked = requests(3);
  dispatcher.add(asked);
  batches[2]!.finish(1, 1);
  batches[0]!.finish(1, 2);
  await turn();
  await turn();
  assert.equal(
    messages.map(({ replies, sessionsOpened }) => [idsOf(replies), sessionsOpened]),
    [[[asked[2]!.id, asked[0]!.id], 3]],
  );
  batches[1]!.finish();
  await turn();
  await turn();
  assert.equal(
    messages.slice(1).map(({ replies, sessionsOpened }) => [idsOf(replies), sessionsOpened]),
    [[[asked[1]!.id], 0]],
  );
});

test('replies say how long an unwrap takes by now, whatever else is quick or slow', async () => {
  const { dispatcher, batches, messages } = dispatcherWith(1);
  dispatcher.add([...requests(1), ...requests(2, UNWRAP), ...requests(1)]);
  for (const [batch, ms] of [1, 400, 800, 9_000].entries()) {
    batches[batch]!.finish(ms);
    await turn();
    await turn();
  }
  assert.equal(
    messages.map(({ keyMs }) => keyMs),
    [undefined, 400, 450, 450],
  );
});

test('what a thread has not begun is the next that one gets, and the plugin is told', async () => {
  const made = dispatcherWith(2);
  const { dispatcher, batches, messages } = made;
  await learnThatItIsFast(made);
  const [before, told] = [batches.length, messages.length];
  const asked = requests(9);
  dispatcher.add(asked);
  // Five for the first thread, which turn out to be slow, and four for the second.
  batches[before]!.finish(100, 0, 2);
  await turn();
  assert.equal(idsOf(batches.at(-1)!.requests), [asked[2]!.id]);
  await turn();
  assert.equal(
    messages.slice(told).map(({ replies, putBack }) => [idsOf(replies), putBack]),
    [[idsOf(asked.slice(0, 2)), idsOf(asked.slice(2, 5))]],
  );
});

test('what several threads give back is done in the order in which it came', async () => {
  const made = dispatcherWith(2);
  const { dispatcher, batches } = made;
  await learnThatItIsFast(made);
  const before = batches.length;
  const asked = requests(8);
  dispatcher.add(asked);
  batches[before]!.finish(100, 0, 1);
  await turn();
  batches[before + 1]!.finish(100, 0, 1);
  await turn();
  assert.equal(
    batches.slice(before + 2).map((batch) => idsOf(batch.requests)),
    [[asked[1]!.id], [asked[2]!.id]],
  );
});

test('a login goes to a thread alone: neither waits for the other', async () => {
  const made = dispatcherWith(1);
  await learnThatItIsFast(made);
  const before = made.batches.length;
  const [first, login, last] = [
    requests(2),
    requests(1, { op: 'login', token: {}, pin: Buffer.alloc(1) }),
    requests(2),
  ];
  made.dispatcher.add([...first, ...login, ...last]);
  for (let batch = 0; batch < 3; batch++) {
    made.batches.at(-1)!.finish(0);
    await turn();
  }
  assert.equal(
    made.batches.slice(before).map((batch) => idsOf(batch.requests)),
    [idsOf(first), idsOf(login), idsOf(last)],
  );
});

test('a thread that dies answers for its requests, and the others go on', async () => {
  const { dispatcher, batches, messages } = dispatcherWith(1);
  const [lost, next] = requests(2);
  dispatcher.add([lost!, next!]);
  batches[0]!.fail(new Error('Terminating worker thread'));
  await turn();
  await turn();
  const failure = { kind: 'unavailable', message: 'Terminating worker thread' };
  assert.equal(messages[0]!.replies, [{ id: lost!.id, failure }]);
  assert.equal(idsOf(batches[1]!.requests), [next!.id]);
});

test.run();
