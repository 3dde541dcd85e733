// A scan's memory does not grow with the number of objects. The plugin's CLI is a process of its own; what it reads comes from generators.
import { figure, fullRun, newDirectory } from '@teapot-kms/testing';
import { launcher } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writeSnapshot } from '../test/support/bolt-writer.ts';
import type { Revision } from '../test/support/bolt-writer.ts';
import { answering, FakeEtcd, rangeResponse } from '../test/support/fake-etcd.ts';
import { kmsV2 } from '../test/support/stored-values.ts';

if (!fullRun)
  console.log('only with TEAPOT_TEST_FULL=1, as it takes minutes: 1,000,000 objects; 50,000 of them are read');
const OBJECTS = fullRun ? 1_000_000 : 50_000;
/** A million objects took 105 to 186 MB, as the collector of garbage found time. */
const MAX_RSS_MB = fullRun ? 250 : 150;

/** Of 600 bytes, as a small Secret. */
const value = kmsV2({ keyId: 'key-1', encryptedDekSource: Buffer.alloc(105, 7), encryptedData: Buffer.alloc(420, 8) });
const keyOf = (n: number): string => `/registry/secrets/default/s-${String(n).padStart(7, '0')}`;

/** Runs `teapot-kms scan` to its end. Returns its report, and the most memory that it has had. */
async function scan(...args: string[]): Promise<{ objects: number; peakMb: number; seconds: number }> {
  const started = performance.now();
  const child = spawn(launcher(), ['scan', '--output', 'json', '--rate', 'unlimited', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  let peakMb = 0;
  // The kernel keeps the high-water mark, so that it does not matter when this looks.
  while (child.exitCode === null) {
    peakMb = Math.max(peakMb, highWaterMarkMb(child.pid!));
    await sleep(20);
  }
  assert.is(await exited, 0);
  const { objects } = JSON.parse(printed) as { objects: number };
  return { objects, peakMb, seconds: (performance.now() - started) / 1000 };
}

function highWaterMarkMb(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

function check(what: string, { objects, peakMb, seconds }: Awaited<ReturnType<typeof scan>>): void {
  figure(`scan of ${OBJECTS} objects ${what}`, `${peakMb.toFixed(0)} MB at most, ${seconds.toFixed(1)} s`);
  assert.is(objects, OBJECTS);
  assert.ok(peakMb > 20 && peakMb <= MAX_RSS_MB, `${peakMb} MB`);
}

test(`of etcd: at most ${MAX_RSS_MB} MB`, async () => {
  const fake = await FakeEtcd.start((stream, request) => {
    // The request's first field is the key that the page begins at: behind the last one of the page before.
    const [, last] = /s-(\d{7})/.exec(request.toString('latin1', 0, 80)) ?? [];
    const from = last === undefined ? 0 : Number(last) + 1;
    const length = Math.min(500, OBJECTS - from);
    const objects = Array.from({ length }, (_, n) => ({ key: keyOf(from + n), value, modRevision: from + n + 2 }));
    answering(rangeResponse({ objects, more: from + length < OBJECTS, count: OBJECTS - from }))(stream, request);
  });
  try {
    check('of etcd', await scan('--etcd-servers', fake.url.origin));
  } finally {
    await fake.stop();
  }
});

test(`of a snapshot: at most ${MAX_RSS_MB} MB`, async () => {
  const file = join(newDirectory(), 'snapshot.db');
  const revisions = function* (): Generator<Revision> {
    for (let n = 0; n < OBJECTS; n++) yield { revision: n + 2, key: keyOf(n), value };
  };
  writeSnapshot(file, revisions(), { checksum: false });
  figure('size of that snapshot', `${Math.round(statSync(file).size / 2 ** 20)} MB`);
  check('of a snapshot', await scan('--snapshot', file));
});

test.run();
