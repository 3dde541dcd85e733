import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { processBudget } from '../../../src/transport/h2/transport.ts';
import { RpcError } from '../../../src/transport/seam.ts';
import type { Handler } from '../../../src/transport/seam.ts';
import {
  call,
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  grpc,
  headers,
  requestBlock,
  settings,
  Type,
  uint32,
} from './frames.ts';
import { heldBytes } from './held-bytes.ts';
import { Random } from './random.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 fuzz');

/** Frames over all: ten for each of `TEAPOT_FUZZ_RUNS`, so 10^7 in the full run. */
const FRAMES = 10 * Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 3_000);
/** Bytes of compiled code and of caches that may come after the first tenth. */
const NOISE = 4 * 2 ** 20;
/** Connections after which the neighbour begins anew, since its client remembers all that it got. */
const NEIGHBOUR_CALLS = 200;
const SEED = Number(process.env['TEAPOT_FUZZ_SEED'] ?? 0x7ea9_07);

/** Answers at once, later, or not well. */
function handlerOf(random: Random): Handler {
  return (request) => {
    const copy = Buffer.from(request);
    const kind = random.below(8);
    if (kind === 0) throw new RpcError(9, 'no');
    if (kind === 1) return new Promise((resolve) => setImmediate(() => resolve(copy)));
    if (kind === 2) return Promise.reject(new Error('secret'));
    if (kind === 3) return Buffer.alloc(random.below(40_000));
    return copy;
  };
}

/** A frame of a lawful client, most of the time. */
function lawful(random: Random, ids: { next: number }): Buffer {
  const id = ids.next;
  const old = Math.max(1, id - 2 * random.below(6)) | 1;
  switch (random.below(12)) {
    case 0:
      return frame(Type.PING, 0, 0, random.bytes(8));
    case 1:
      return frame(Type.WINDOW_UPDATE, 0, random.below(2) * old, uint32(1 + random.below(100_000)));
    case 2:
      return settings([[random.below(7), random.below(2) === 0 ? random.below(8) : random.below(70_000)]]);
    case 3:
      return frame(Type.RST_STREAM, 0, old, uint32(8));
    case 4:
      return frame(Type.PRIORITY, 0, old, random.bytes(5));
    case 5:
      return data(old, grpc(random.bytes(random.below(300))), random.below(2));
    case 6: {
      ids.next += 2;
      const block = requestBlock({ 'grpc-timeout': `${random.below(3_000)}m` });
      const cut = random.below(block.length);
      return Buffer.concat([
        headers(id, block.subarray(0, cut), 0),
        frame(Type.CONTINUATION, END_HEADERS, id, block.subarray(cut)),
        data(id, grpc('continued')),
      ]);
    }
    case 7:
      ids.next += 2;
      return headers(
        id,
        requestBlock({ ':path': random.below(2) === 0 ? '/test/Call' : '/other' }),
        END_HEADERS | random.below(2),
      );
    case 8:
      return headers(old, requestBlock(), END_HEADERS | END_STREAM);
    default:
      ids.next += 2;
      return call(id, random.bytes(random.below(200)));
  }
}

/** Changes bytes, cuts, repeats, or leaves as it is. */
function mutate(random: Random, bytes: Buffer): Buffer {
  const kind = random.below(10);
  if (kind === 0) bytes[random.below(Math.min(9, bytes.length))] = random.below(256);
  else if (kind === 1) bytes[random.below(bytes.length)] = random.below(256);
  else if (kind === 2) return bytes.subarray(0, random.below(bytes.length));
  else if (kind === 3) return Buffer.concat([bytes, bytes]);
  else if (kind === 4) return Buffer.concat([bytes, random.bytes(random.below(30))]);
  return bytes;
}

/** Sends bytes in pieces of random sizes. */
function sendInPieces(random: Random, client: RigClient, bytes: Buffer): void {
  for (let at = 0; at < bytes.length;) {
    const size = random.below(3) === 0 ? 1 + random.below(20) : bytes.length;
    client.send(bytes.subarray(at, at + size));
    at += size;
  }
}

test(`${FRAMES} mutated frames: no crash, no violation of ours, nothing left, the neighbour is served (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const rig = new Rig(handlerOf(random));
  const echo = new Rig();
  let neighbour = echo.connect();
  let neighbourId = 1;
  let early = 0;
  let sent = 0;
  while (sent < FRAMES) {
    const client = rig.connect();
    const ids = { next: 1 };
    const limit = 20 + random.below(200);
    for (let n = 0; n < limit && !client.socket.writableEnded; n++, sent++) {
      const mutates = random.below(20) === 0;
      const bytes = lawful(random, ids);
      sendInPieces(random, client, mutates ? mutate(random, bytes) : bytes);
      if (random.below(50) === 0) {
        if (client.socket.stuck) client.socket.unstick();
        else client.socket.stuck = true;
      }
      // Parses all output, and throws for what a server may not send.
      client.read();
      if (client.socket.paused || random.below(30) === 0) await settle();
      if (random.below(200) === 0) await rig.clock.advance(1_000);
    }
    if (client.socket.stuck) client.socket.unstick();
    await settle();
    client.read();
    client.socket.destroy();
    neighbour.send(frame(Type.WINDOW_UPDATE, 0, 0, uint32(9)), call(neighbourId, 'here'));
    if (neighbour.socket.paused) await settle();
    assert.is(neighbour.message(neighbourId)?.toString(), 'here');
    neighbourId += 2;
    if (neighbourId > 2 * NEIGHBOUR_CALLS) {
      neighbour.socket.destroy();
      [neighbour, neighbourId] = [echo.connect(), 1];
    }
    if (early === 0 && sent > FRAMES / 10) early = await heldBytes();
  }
  await settle();
  await rig.clock.advance(60_000);
  assert.is(rig.clock.pending, 0);
  assert.is(rig.transport.violations.get('INTERNAL_ERROR'), undefined);
  assert.is(processBudget.held, 0);
  const grown = (await heldBytes()) - early;
  assert.ok(grown < NOISE, `${grown} bytes more are held than after the first tenth`);
});

test('however a session is cut into chunks, the answer is the same', () => {
  const session = Buffer.concat([
    ...[1, 3, 5].map((id) => call(id, `call ${id}`)),
    frame(Type.PING, 0, 0, Buffer.from('12345678')),
    settings([[4, 70_000]]),
    headers(7),
    data(7, grpc('in two parts').subarray(0, 8), 0),
    data(7, grpc('in two parts').subarray(8)),
    headers(9, requestBlock({ ':path': '/other' })),
    frame(Type.RST_STREAM, 0, 9, uint32(8)),
    frame(Type.WINDOW_UPDATE, 0, 0, uint32(1_000)),
    call(11, 'last'),
  ]);
  const outputOf = (cuts: readonly number[]): Buffer => {
    const client = new Rig().connect();
    client.socket.take();
    let at = 0;
    for (const cut of [...cuts, session.length]) {
      client.send(session.subarray(at, cut));
      at = cut;
    }
    return client.socket.take();
  };
  const whole = outputOf([]);
  assert.ok(whole.length > 100);
  for (let cut = 1; cut < session.length; cut++) assert.equal(outputOf([cut]), whole, `cut at ${cut}`);
  assert.equal(outputOf(Array.from({ length: session.length - 1 }, (_, at) => at + 1)), whole, 'byte by byte');
});

test.run();
