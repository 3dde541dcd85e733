import { FakeClock, rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Compacted, PageTooLarge } from '../../src/etcd/client.ts';
import { endOf, pagesOf } from '../../src/etcd/pages.ts';
import type { PageOptions } from '../../src/etcd/pages.ts';
import type { RangeAnswer, RangeRequest } from '../../src/etcd/range.ts';

const KEYS = ['/registry/a', '/registry/b', '/registry/b/c', '/registry/d', '/registry/e'];

/** An etcd in memory. @param fail - makes a call fail */
function store(fail: (request: RangeRequest, call: number) => Error | undefined = () => undefined) {
  const requests: RangeRequest[] = [];
  const range = (request: RangeRequest): Promise<RangeAnswer> => {
    requests.push(request);
    const error = fail(request, requests.length);
    if (error) return Promise.reject(error);
    const found = KEYS.map((key) => Buffer.from(key)).filter(
      (key) => key.compare(request.key) >= 0 && key.compare(request.rangeEnd!) < 0,
    );
    const objects = found.slice(0, request.limit).map((key) => ({ key, value: Buffer.from('{}'), modRevision: 1 }));
    const more = found.length > request.limit;
    return Promise.resolve({
      clusterId: '7',
      memberId: 'ab',
      revision: 40 + requests.length,
      objects,
      more,
      count: found.length,
    });
  };
  return { requests, range };
}

const options = (more: Partial<PageOptions> = {}): PageOptions => ({
  prefix: '/registry/',
  pageSize: 2,
  rate: Infinity,
  clock: new FakeClock(),
  ...more,
});

async function keysOf(etcd: ReturnType<typeof store>, given = options()) {
  const keys: string[] = [];
  const revisions: number[] = [];
  for await (const page of pagesOf(etcd, given)) {
    keys.push(...page.objects.map(({ key }) => key.toString()));
    revisions.push(page.revision);
  }
  return { keys, revisions };
}

test('every object once, in pages of one revision', async () => {
  const etcd = store();
  assert.equal(await keysOf(etcd), { keys: KEYS, revisions: [41, 41, 41] });
  assert.equal(
    etcd.requests.map(({ revision }) => revision),
    [0, 41, 41],
  );
});

test('a prefix without objects has one empty page', async () => {
  assert.equal(await keysOf(store(), options({ prefix: '/elsewhere/' })), { keys: [], revisions: [41] });
});

test('when the revision is compacted, the rest is read at the newest one', async () => {
  const etcd = store(({ revision }, call) => (revision === 41 && call === 2 ? new Compacted('compacted') : undefined));
  assert.equal(await keysOf(etcd), { keys: KEYS, revisions: [41, 43, 43] });
});

test('a newest revision that is compacted is an error and no loop', async () => {
  await rejectsWithCode(() => keysOf(store(() => new Compacted('compacted'))), 'ERR_KMS_ETCD_UNAVAILABLE');
});

test('a page that is too large is read in halves, and later pages grow again', async () => {
  const etcd = store((_request, call) => (call <= 2 ? new PageTooLarge('too large') : undefined));
  assert.equal((await keysOf(etcd, options({ pageSize: 4 }))).keys, KEYS);
  assert.equal(
    etcd.requests.map(({ limit }) => limit),
    [4, 2, 1, 2, 4],
  );
});

test('one object that is too large is an error that names the place', async () => {
  const etcd = store((_request, call) => (call > 1 ? new PageTooLarge('too large') : undefined));
  const { message } = await rejectsWithCode(() => keysOf(etcd), 'ERR_KMS_ETCD_UNAVAILABLE');
  assert.match(message, '/registry/b');
});

test('the rate bounds the objects per second', async () => {
  const clock = new FakeClock();
  const etcd = store();
  const reading = keysOf(etcd, options({ rate: 1, clock }));
  await clock.advance(1_999);
  assert.is(etcd.requests.length, 1, 'two objects are a budget of two seconds');
  await clock.advance(1);
  assert.is(etcd.requests.length, 2);
  await clock.advance(2_000);
  assert.equal((await reading).keys, KEYS);
});

test('the end of a prefix is behind all its keys and before all others', () => {
  const key = fc.uint8Array({ minLength: 1, maxLength: 4 }).filter((bytes) => bytes.some((byte) => byte < 0xff));
  fc.assert(
    fc.property(key, fc.uint8Array({ maxLength: 6 }), (prefix, other) => {
      const bytes = Buffer.from(other);
      const inRange = bytes.compare(prefix) >= 0 && bytes.compare(endOf(Buffer.from(prefix))) < 0;
      assert.is(inRange, bytes.subarray(0, prefix.length).equals(prefix));
    }),
  );
});

test.run();
