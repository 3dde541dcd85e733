import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { runLoad } from '../src/load/load.ts';
import { startPeer } from '../src/load/peer.ts';
import { decryptRequests, encryptRequests } from '../src/load/requests.ts';
import type { Requests } from '../src/load/requests.ts';
import type { Server } from '../src/load/server.ts';
import { missingTeapotBench } from '../src/load/teapot-bench.ts';

const missing = missingTeapotBench();
if (missing !== undefined) {
  console.log(`SKIPPED load of the benchmarks: ${missing}`);
  process.exit(0);
}

const test = suite('load');
const CALLS = 200;
let directory = '';
let server: Server;
let decrypts: Requests;

test.before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'teapot-load-test-'));
  server = await startPeer({ directory: join(directory, 'reference'), kind: 'reference' });
  decrypts = await decryptRequests(server.socket, CALLS);
});

test.after(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** Returns the error message of a load that must fail, or an empty text. */
async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => '',
    (error: unknown) => (error as Error).message,
  );
}

test('sends each request of each target once', async () => {
  const { method, ...calls } = decrypts;
  const target = { socket: server.socket, connections: 2, inFlight: 4, ...calls };
  const { ok, targetsDoneAtMs, timeline } = await runLoad({ method, targets: [target, target, target], once: true });
  assert.is(ok, 3 * CALLS);
  assert.is(targetsDoneAtMs?.length, 3);
  assert.is(timeline.at(-1)?.[1], 3 * CALLS);
});

test('fills its header table more than once on one connection', async () => {
  const { method, ...calls } = decrypts;
  const targets = [{ socket: server.socket, inFlight: 50, ...calls }];
  assert.is((await runLoad({ method, targets, callsPerTarget: 50 * CALLS })).ok, 50 * CALLS);
});

test('ends when its time is up, at any point of a call', async () => {
  const { method, ...calls } = decrypts;
  for (let run = 0; run < 40; run++) {
    const seconds = 0.01 + run * 1e-5;
    const result = await runLoad({ method, targets: [{ socket: server.socket, ...calls }], seconds });
    assert.ok(result.seconds < 10);
  }
});

test('keeps a rate', async () => {
  const { method, ...calls } = decrypts;
  const targets = [{ socket: server.socket, inFlight: 100, ...calls }];
  assert.is((await runLoad({ method, targets, rate: 400, seconds: 0.5 })).calls, 200);
});

test('latency counts from the intended start: while the server is stopped, all due calls become late', async () => {
  const { method, ...calls } = decrypts;
  const load = runLoad({ method, targets: [{ socket: server.socket, inFlight: 1, ...calls }], rate: 400, seconds: 2 });
  await sleep(800);
  process.kill(server.pid, 'SIGSTOP');
  await sleep(800);
  process.kill(server.pid, 'SIGCONT');
  const { latencyUs } = await load;
  // If latency counted from the time of sending, only one of 800 calls would be slow.
  assert.ok(latencyUs.p90 > 100_000, `${latencyUs.p90} µs`);
});

test('any answer to an Encrypt is correct', async () => {
  const { method, ...calls } = encryptRequests(CALLS);
  assert.is((await runLoad({ method, targets: [{ socket: server.socket, ...calls }], once: true })).ok, CALLS);
});

test('one wrong answer is an error', async () => {
  const answers = decrypts.answers!.with(7, Buffer.from('something else'));
  const targets = [{ socket: server.socket, requests: decrypts.requests, answers }];
  const message = await failure(runLoad({ method: decrypts.method, targets, once: true }));
  assert.match(message, `${CALLS - 1} of ${CALLS} calls were answered correctly: {"wrong":1,"failed":{}}`);
});

test('failed calls are an error that names their gRPC status', async () => {
  const targets = [{ socket: server.socket, requests: decrypts.requests }];
  const message = await failure(runLoad({ method: '/v2.KeyManagementService/Nothing', targets, once: true }));
  assert.match(message, `{"wrong":0,"failed":{"12":${CALLS}}}`);
});

test('a server that exits is an error', async () => {
  const other = await startPeer({ directory: join(directory, 'other'), kind: 'reference' });
  const { method, ...calls } = await decryptRequests(other.socket, CALLS);
  const load = failure(runLoad({ method, targets: [{ socket: other.socket, ...calls }], seconds: 20 }));
  await other.daemon.kill();
  assert.match(await load, 'teapot-bench: ');
});

test.run();
