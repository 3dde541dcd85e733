import { systemClock } from '@teapot-kms/core';
import { FakeClock, rejectsWithCode, until } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Compacted, EtcdClient, MAX_ANSWER_BYTES, PageTooLarge } from '../../src/etcd/client.ts';
import { answering, FakeEtcd, rangeResponse, refusing } from '../support/fake-etcd.ts';
import type { Behaviour, FakeAnswer } from '../support/fake-etcd.ts';

const test = suite<{ started: FakeEtcd[]; clients: EtcdClient[] }>('etcd client');
test.before.each((context) => {
  context.started = [];
  context.clients = [];
});
test.after.each(async ({ started, clients }) => {
  for (const client of clients) client.close();
  await Promise.all(started.map((fake) => fake.stop()));
});

type Context = Parameters<Parameters<typeof test>[1]>[0];
const request = { key: Buffer.from('/registry/'), rangeEnd: Buffer.from('/registry0'), limit: 2, revision: 0 };
const object = (name: string) => ({ key: `/registry/${name}`, value: Buffer.from('{}'), modRevision: 3 });
const good = (answer: FakeAnswer = {}): Behaviour => answering(rangeResponse(answer));

/** A fast client of members that behave like this. */
async function clientOf({ started, clients }: Context, ...behaviours: Behaviour[]) {
  const fakes = await Promise.all(behaviours.map((behaviour) => FakeEtcd.start(behaviour)));
  started.push(...fakes);
  // Waits for a retry end at once.
  const clock = {
    ...systemClock,
    after: (ms: number, fn: () => void) => systemClock.after(ms > 10_000 ? ms : 0, fn, true),
  };
  const client = new EtcdClient({ servers: fakes.map(({ url }) => url), tls: {}, clock });
  clients.push(client);
  return { client, fakes };
}

test('an answer has the ids, the revision and the objects', async (context) => {
  const objects = [object('a'), object('b')];
  const { client, fakes } = await clientOf(context, good({ objects, more: true, count: 9 }));
  const answer = await client.range(request);
  assert.equal([answer.clusterId, answer.memberId, answer.revision], ['7', 'ab', 40]);
  assert.equal(
    [answer.objects.map(({ key }) => key.toString()), answer.more, answer.count],
    [['/registry/a', '/registry/b'], true, 9],
  );
  await client.range(request);
  assert.is(fakes[0]!.calls, 2);
});

test('the next member is asked when one is not available', async (context) => {
  const { client, fakes } = await clientOf(context, refusing(14, 'etcdserver: no leader'), good());
  await client.range(request);
  await client.range(request);
  assert.equal(
    fakes.map(({ calls }) => calls),
    [1, 2],
  );
});

test('a member that is gone costs an attempt', async (context) => {
  const { client, fakes } = await clientOf(context, good(), good());
  await fakes[0]!.stop();
  context.started.shift();
  await client.range(request);
});

test('attempts are bounded, and the error says what the last member said', async (context) => {
  const { client, fakes } = await clientOf(context, refusing(14, 'etcdserver: no leader'));
  const { message } = await rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
  assert.match(message, 'etcdserver: no leader');
  assert.is(fakes[0]!.calls, 6);
});

for (const [status, text] of [
  [7, 'etcdserver: permission denied'],
  [3, 'etcdserver: user name is empty'],
  [16, 'etcdserver: invalid auth token'],
  [12, 'unknown service'],
] as const) {
  test(`status ${status} is final, and what etcd's log says ends it`, async (context) => {
    const { client, fakes } = await clientOf(context, refusing(status, text));
    const { message, remedy } = await rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
    assert.match(message, text);
    assert.is(fakes[0]!.calls, 1);
    assert.match(remedy ?? '', "etcd's log has the reason");
    fakes[0]!.behaviour = good();
    await client.range(request);
  });
}

test('an etcd that is not there is named, with the files for TLS', async (context) => {
  const { client, fakes } = await clientOf(context, good());
  const { origin } = fakes[0]!.url;
  await fakes[0]!.stop();
  context.started.shift();
  const { remedy } = await rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
  assert.ok(remedy?.startsWith(`check that etcd answers at ${origin}, and the files for TLS`), remedy);
});

test('a compacted revision has an error of its own', async (context) => {
  const { client } = await clientOf(context, refusing(11, 'etcdserver: mvcc: required revision has been compacted'));
  await client.range(request).then(
    () => assert.unreachable(),
    (error: unknown) => assert.instance(error, Compacted),
  );
});

test('an answer that is too long has an error of its own, and is not read to its end', async (context) => {
  let sent = 0;
  const { client } = await clientOf(context, (stream) => {
    stream.respond({ ':status': 200 });
    const chunk = Buffer.alloc(1024 * 1024);
    const more = (): void => {
      while (!stream.destroyed && stream.write(chunk)) sent += chunk.length;
      sent += chunk.length;
    };
    stream.on('drain', more);
    more();
  });
  await client.range(request).then(
    () => assert.unreachable(),
    (error: unknown) => assert.instance(error, PageTooLarge),
  );
  assert.ok(sent < 2 * MAX_ANSWER_BYTES, String(sent));
});

test('a member of another cluster is refused, at once', async (context) => {
  const { client, fakes } = await clientOf(context, good({ clusterId: 7 }), good({ clusterId: 8 }));
  await client.range(request);
  fakes[0]!.behaviour = refusing(14, 'gone');
  const { message, remedy } = await rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
  assert.is(remedy, 'name members of one cluster only');
  assert.match(message, 'belongs to cluster 8, and the server before it to cluster 7');
  const one = new EtcdClient({ servers: [fakes[1]!.url], tls: {}, clock: systemClock });
  context.clients.push(one);
  await one.range(request);
});

const strange: Readonly<Record<string, Behaviour>> = {
  'no header': answering(Buffer.alloc(0)),
  'more objects than asked for': good({ objects: [object('a'), object('b'), object('c')] }),
  'no objects, and more': good({ more: true }),
  'a key outside the range': good({ objects: [{ ...object('a'), key: '/other/a' }] }),
  'the end of the range': good({ objects: [{ ...object('a'), key: '/registry0' }] }),
  'keys out of order': good({ objects: [object('b'), object('a')] }),
  'a key twice': good({ objects: [object('a'), object('a')] }),
  'bytes that are no message': answering(Buffer.from([0x0a, 0x7f])),
  'a compressed message': answering(rangeResponse({}), 1),
  'half a message': answering(Buffer.alloc(0)),
  'no gRPC status': (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('xxxxx');
  },
  'an HTTP error': (stream) => {
    stream.respond({ ':status': 503 });
    stream.end('a proxy speaks');
  },
  'a reset': (stream) => stream.close(2),
  'the end of the connection': (stream) => stream.session?.destroy(),
};
for (const [what, behaviour] of Object.entries(strange)) {
  test(`refused: ${what}`, async (context) => {
    const { client } = await clientOf(context, behaviour);
    await rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
  });
}

test('control characters of an error do not reach the terminal', async (context) => {
  const { client } = await clientOf(context, refusing(7, 'no\u001b[31m\n'));
  const { message } = await rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
  assert.match(message, /no \[31m$/);
});

test('a member that does not answer is left after the time limit', async ({ started, clients }) => {
  const fake = await FakeEtcd.start(() => undefined);
  started.push(fake);
  const clock = new FakeClock();
  const client = new EtcdClient({ servers: [fake.url], tls: {}, clock, timeoutMs: 20_000, attempts: 1 });
  clients.push(client);
  const refused = rejectsWithCode(() => client.range(request), 'ERR_KMS_ETCD_UNAVAILABLE');
  await until('the call arrives', () => fake.calls === 1);
  await clock.advance(20_000);
  assert.match((await refused).message, 'no answer within 20000 ms');
});

test.run();
