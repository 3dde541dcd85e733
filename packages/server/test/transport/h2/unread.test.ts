// Clients that ask much and read nothing: what the transport keeps for them, counted and in memory.
import { settle } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  MAX_CONNECTION_BYTES,
  MAX_INSTANCE_BYTES,
  MAX_PROCESS_BYTES,
  MAX_UNSENT_BYTES,
} from '../../../src/transport/h2/limits.ts';
import { processBudget } from '../../../src/transport/h2/transport.ts';
import { GrpcStatus } from '../../../src/transport/seam.ts';
import type { Handler } from '../../../src/transport/seam.ts';
import { call, frame, Type, uint32 } from './frames.ts';
import { heldBytes } from './held-bytes.ts';
import { Rig } from './rig.ts';
import type { RigClient } from './rig.ts';

const test = suite('h2 clients that do not read');

const KIB_64 = 65_535;
const MiB = 2 ** 20;
const ENHANCE_YOUR_CALM = 11;
/** What one connection may add before it is seen that its client is slow: the bytes in its socket, the slab, and an answer. */
const OVERSHOOT = MAX_UNSENT_BYTES + 2 * 64 * 1024;
const MESSAGE = Buffer.alloc(KIB_64, 'answer');

const clients: RigClient[] = [];

/** A client whose windows are wide open, and that takes nothing from its socket. */
function connect(rig: Rig): RigClient {
  const client = rig.connect([[4, 2 ** 30]]);
  client.send(frame(Type.WINDOW_UPDATE, 0, 0, uint32(2 ** 30)));
  client.socket.stuck = true;
  clients.push(client);
  return client;
}

test.after.each(() => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  assert.is(processBudget.held, 0);
});

/** A handler whose calls all wait, and what answers them all at once. */
function heldBack(): { handler: Handler; release: () => Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const release = async (): Promise<void> => {
    resolve(undefined);
    await settle();
  };
  return { handler: () => promise.then(() => Buffer.from(MESSAGE)), release };
}

const ids = (count: number): number[] => Array.from({ length: count }, (_, n) => 2 * n + 1);

async function ask(client: RigClient, count: number): Promise<void> {
  for (const id of ids(count)) {
    client.send(call(id));
    if (client.socket.paused) await settle();
  }
}

/** The client reads until nothing comes any more. */
async function readAll(client: RigClient): Promise<void> {
  for (let before = -1; client.frames.length > before;) {
    before = client.frames.length;
    client.socket.unstick();
    await settle();
    client.read();
  }
}

test('380 answers of 64 KiB that come at once wait outside the socket, are counted, and reach a client that reads at last', async () => {
  const { handler, release } = heldBack();
  const client = connect(new Rig(handler));
  await ask(client, 380);
  await release();
  assert.ok(client.socket.writableLength <= OVERSHOOT, `${client.socket.writableLength} in the socket`);
  assert.ok(processBudget.held >= 380 * KIB_64 && processBudget.held <= MAX_CONNECTION_BYTES, `${processBudget.held}`);
  await readAll(client);
  assert.ok(ids(380).every((id) => client.message(id)?.equals(MESSAGE)));
  assert.is(processBudget.held, 0);
});

test('answers beyond the bound of a connection are refused, though its windows are wide open', async () => {
  const { handler, release } = heldBack();
  const client = connect(new Rig(handler));
  await ask(client, 600);
  await release();
  const held = processBudget.held;
  assert.ok(held <= MAX_CONNECTION_BYTES + OVERSHOOT && held > MAX_CONNECTION_BYTES - KIB_64, `${held}`);
  await readAll(client);
  const statuses = ids(600).map((id) => client.status(id));
  const answered = statuses.filter((status) => status === GrpcStatus.OK).length;
  assert.ok(answered >= 380, `${answered} are answered`);
  assert.is(statuses.filter((status) => status === GrpcStatus.RESOURCE_EXHAUSTED).length, 600 - answered);
});

test('what waits in sockets counts at once: neither an instance nor the process holds more than its bound', async () => {
  const { handler, release } = heldBack();
  const rigs = [new Rig(handler), new Rig(handler), new Rig(handler)];
  const open = rigs.flatMap((rig) => [connect(rig), connect(rig), connect(rig)]);
  const seen: number[] = [];
  for (const client of open) {
    await ask(client, 380);
    const write = client.socket.write.bind(client.socket);
    client.socket.write = (...args) => {
      seen.push(processBudget.held);
      return write(...args);
    };
  }
  await release();
  assert.ok(Math.max(...seen) <= MAX_PROCESS_BYTES + OVERSHOOT, `${Math.max(...seen)}`);
  assert.ok(processBudget.held <= MAX_PROCESS_BYTES);
  const quiet = connect(rigs[0]!);
  quiet.socket.unstick();
  quiet.send(call(1));
  await settle();
  assert.equal(quiet.message(1), MESSAGE);
  for (const client of open) await readAll(client);
  const ended = open.filter((client) => client.goAway() === ENHANCE_YOUR_CALM).length;
  assert.ok(ended >= open.length - MAX_PROCESS_BYTES / MAX_INSTANCE_BYTES, `${ended} connections are ended`);
});

test('a client that reads slowly, but reads, is not cut', async () => {
  const { handler, release } = heldBack();
  const rig = new Rig(handler);
  const client = connect(rig);
  await ask(client, 300);
  await release();
  for (let n = 0; n < 10; n++) {
    await rig.clock.advance(2_900);
    client.socket.unstick();
    client.socket.stuck = true;
    await settle();
  }
  assert.not.ok(client.socket.destroyed);
});

test('answers of some bytes that wait in a socket take some bytes each', async () => {
  const client = connect(new Rig());
  client.send(call(1));
  const before = await heldBytes();
  // Each is a read event of its own.
  for (const id of ids(2_000).slice(1)) {
    client.send(call(id));
    if (client.socket.paused) await settle();
  }
  assert.ok(client.socket.writableLength > 50_000);
  const held = (await heldBytes()) - before;
  assert.ok(held < 2 * MiB, `${held} bytes are held`);
});

test('a request that waits keeps little more than its own bytes, whatever comes between', async () => {
  const waiting: ((answer: Buffer) => void)[] = [];
  const handler: Handler = (request) =>
    request.length > 1 ? Buffer.of(1) : new Promise<Buffer>((resolve) => waiting.push(resolve));
  const client = new Rig(handler).connect();
  clients.push(client);
  const between = Buffer.alloc(16_000);
  const before = await heldBytes();
  for (let id = 1; id < 2 * 1_200; id += 4) {
    client.send(call(id, 'x'), call(id + 2, between));
    client.send(frame(Type.PING, 0, 0, Buffer.alloc(8)));
    if (client.socket.paused) await settle();
  }
  client.read();
  const held = (await heldBytes()) - before;
  assert.ok(held < 2 * MiB, `${held} bytes are held`);
});

test.run();
