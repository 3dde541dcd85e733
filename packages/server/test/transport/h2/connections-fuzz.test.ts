// Whole connections over real sockets: sessions that a real client has sent, damaged, beside neighbours that must not notice.
import { generateKey, KeysetService, providerFor, SharedResources, systemClock } from '@teapot-kms/core';
import type { Clock, KeysetSource } from '@teapot-kms/core';
import { figure, newDirectory, rememberSecret, until } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsClient } from '../../../src/client/client.ts';
import { toHandler } from '../../../src/kms/endpoint.ts';
import { v2 } from '../../../src/kms/messages.ts';
import { v2Endpoints } from '../../../src/kms/v2.ts';
import { H2Transport, processBudget } from '../../../src/transport/h2/transport.ts';
import { SocketListener } from '../../../src/transport/socket.ts';
import { frame, PREFACE } from './frames.ts';
import { heldBytes } from './held-bytes.ts';
import { Random } from './random.ts';
import { recordSession } from './recordings.ts';

const test = suite('h2 connections');

/** 10^4 in the full run. */
const CONNECTIONS = Math.min(Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 200), 10_000);
const SEED = Number(process.env['TEAPOT_FUZZ_SEED'] ?? 0x7ea9_07);
/** Connections at a time. */
const AT_A_TIME = 8;
/** Of heap and buffers. What 10^4 connections have sent would be more. */
const MAX_GROWTH_MB = 8;
const MiB = 2 ** 20;
/** ms. No answer takes so long that the machine alone is the cause. */
const PATIENT_MS = 120_000;

const V2 = '/v2.KeyManagementService';
const plaintext = randomBytes(32);
rememberSecret(plaintext);

/** The system's clock, which knows its timers: a transport without connections has none. */
class CountingClock implements Clock {
  pending = 0;
  readonly now = () => systemClock.now();
  readonly wall = () => systemClock.wall();

  after(ms: number, fn: () => void, keepAlive?: boolean): () => void {
    this.pending++;
    let waits = true;
    const over = (): void => {
      if (waits) this.pending--;
      waits = false;
    };
    const fires = (): void => {
      over();
      fn();
    };
    const cancel = systemClock.after(ms, fires, keepAlive);
    return () => {
      over();
      cancel();
    };
  }
}

/** One tenant: a keyset of its own behind a socket of its own. */
class Tenant {
  readonly socket = join(newDirectory(), 's');
  readonly clock = new CountingClock();
  readonly #service: KeysetService;
  readonly transport: H2Transport;
  #listener: SocketListener | undefined;

  private constructor(source: KeysetSource) {
    this.#service = new KeysetService({ source });
    const observer = { began: () => undefined, ended: () => undefined };
    const routes = v2Endpoints(this.#service, 'v2').map((one) => [one.path, toHandler(one, observer)] as const);
    this.transport = new H2Transport(new Map(routes), { clock: this.clock });
  }

  static async start(): Promise<Tenant> {
    const provider = providerFor('file:/');
    const uri = `file:${newDirectory()}`;
    const source = provider.open(uri, provider.settings.parse({}), new SharedResources()) as KeysetSource;
    await generateKey(source.admin!);
    const tenant = new Tenant(source);
    tenant.#service.start();
    const onConnection = tenant.transport.accept.bind(tenant.transport);
    tenant.#listener = await SocketListener.listen({ path: tenant.socket, mode: 0o600, takeOver: false, onConnection });
    return tenant;
  }

  async close(): Promise<void> {
    await this.#listener?.close();
    await this.transport.drain(100);
    await this.#service.close();
  }
}

/** A client that asks without a pause, and gets right answers only. */
async function neighbour(socket: string, isOver: () => boolean): Promise<number> {
  const client = new KmsClient(socket, PATIENT_MS);
  try {
    const { ciphertext, keyId } = await client.encrypt(plaintext, 'neighbour');
    let rounds = 0;
    for (; !isOver(); rounds++) {
      assert.is((await client.status()).healthz, 'ok');
      assert.equal(await client.decrypt(ciphertext, keyId, 'neighbour'), plaintext);
    }
    return rounds;
  } finally {
    client.close();
  }
}

/** Sessions of a client: its frames after the preface. */
async function recordings(socket: string): Promise<Buffer[][]> {
  const encrypt = (length: number) => ({
    path: `${V2}/Encrypt`,
    request: v2.EncryptRequest.encode({ plaintext: randomBytes(length), uid: 'recorded' }),
  });
  const status = { path: `${V2}/Status`, request: v2.StatusRequest.encode({}) };
  const decrypt = { path: `${V2}/Decrypt`, request: v2.DecryptRequest.encode({ ciphertext: randomBytes(90) }) };
  const plans = [
    [status, encrypt(32), decrypt],
    [encrypt(30_000), encrypt(60_000), status],
    Array.from({ length: 30 }, (_, index) => [status, encrypt(32), decrypt][index % 3]!),
    [{ path: '/unknown/Method', request: Buffer.alloc(10) }],
  ];
  const sessions: Buffer[][] = [];
  for (const plan of plans) {
    const bytes = await recordSession(socket, join(newDirectory(), 'r'), plan);
    assert.equal(bytes.subarray(0, PREFACE.length), PREFACE);
    sessions.push(framesOf(bytes.subarray(PREFACE.length)));
  }
  return sessions;
}

function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return frames;
}

/** Changes a session in some places: bytes, and frames that are left out, repeated, moved, made up or of another stream. */
function mutated(session: readonly Buffer[], random: Random): Buffer {
  const frames: Buffer[] = session.map((one) => Buffer.from(one));
  for (let changes = random.below(5); changes > 0 && frames.length > 0; changes--) {
    const at = random.below(frames.length);
    const one = frames[at]!;
    // One that was cut has no whole header.
    switch (one.length < 9 ? 0 : random.below(9)) {
      case 0:
        frames.splice(at, 1);
        break;
      case 1:
        frames.splice(at, 0, ...Array.from({ length: 1 + random.below(50) }, () => one));
        break;
      case 2:
        frames.splice(at, 0, frames.splice(random.below(frames.length), 1)[0]!);
        break;
      case 3:
        frames.splice(
          at,
          0,
          frame(random.below(12), random.below(256), random.below(40), random.bytes(random.below(40))),
        );
        break;
      case 4:
        one.writeUInt32BE(random.below(2 ** 31), 5);
        break;
      case 5:
        one[3 + random.below(2)] = random.below(256);
        break;
      case 6:
        one.writeUIntBE(random.below(2 ** 24), 0, 3);
        break;
      case 7:
        frames[at] = one.subarray(0, random.below(one.length));
        break;
      default:
        one[random.below(one.length)] = random.below(256);
    }
  }
  const all = Buffer.concat([random.below(40) === 0 ? random.bytes(24) : PREFACE, ...frames]);
  return random.below(10) === 0 ? all.subarray(0, random.below(all.length)) : all;
}

/** One connection, from its beginning to its end. */
async function attack(socket: string, bytes: Buffer, random: Random): Promise<void> {
  const client = connect(socket).on('error', () => undefined);
  const closed = once(client, 'close');
  if (random.below(5) > 0) client.resume();
  await once(client, 'connect');
  for (let at = 0; at < bytes.length && !client.destroyed;) {
    const size = random.below(4) === 0 ? 1 + random.below(200) : bytes.length;
    client.write(bytes.subarray(at, at + size));
    at += size;
    if (random.below(3) === 0) await nextTurn();
  }
  for (let turns = random.below(6); turns > 0; turns--) await nextTurn();
  if (random.below(3) === 0) client.end();
  else client.destroy();
  if (random.below(2) === 0) client.resume();
  // A client that reads nothing and never closes is cut by the transport after its time; this one does not wait so long.
  for (let turns = 20; turns > 0 && !client.destroyed; turns--) await nextTurn();
  client.destroy();
  await closed;
}

function openSockets(): number {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return links.filter((link) => link.startsWith('socket:')).length;
}

test(`${CONNECTIONS} mutated connections: nothing is kept, and neighbours are served (seed ${SEED})`, async () => {
  const unhandled: unknown[] = [];
  const note = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', note).on('uncaughtException', note);
  const random = new Random(SEED);
  const [attacked, other] = [await Tenant.start(), await Tenant.start()];
  const sessions = await recordings(attacked.socket);
  const connections = async (count: number): Promise<void> => {
    let left = count;
    const one = async (): Promise<void> => {
      while (left-- > 0) {
        await attack(attacked.socket, mutated(sessions[random.below(sessions.length)]!, random), random);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, one));
  };
  // What is compiled and cached on first use is no growth.
  await connections(Math.min(CONNECTIONS, 500));
  const quiet = async (): Promise<void> => {
    const isQuiet = (): boolean => attacked.clock.pending === 0 && other.clock.pending === 0;
    await until('every connection is gone', isQuiet, { everyMs: 20 });
  };
  await quiet();
  const before = { sockets: openSockets(), memoryMb: (await heldBytes()) / MiB };

  let isOver = false;
  const neighbours = [attacked, other].map(({ socket }) => neighbour(socket, () => isOver));
  const attacks = connections(CONNECTIONS).finally(() => (isOver = true));
  // A neighbour that fails ends the test at once.
  await Promise.all([attacks, ...neighbours]);
  const rounds = await Promise.all(neighbours);

  await quiet();
  const growthMb = (await heldBytes()) / MiB - before.memoryMb;
  figure(
    `h2: ${CONNECTIONS} mutated connections`,
    `${rounds.join(' and ')} rounds of neighbours, ${growthMb.toFixed(1)} MB more, violations ${JSON.stringify(Object.fromEntries(attacked.transport.violations))}`,
  );
  assert.is(openSockets(), before.sockets);
  assert.is(processBudget.held, 0);
  assert.is(attacked.transport.violations.get('INTERNAL_ERROR'), undefined);
  assert.ok(attacked.transport.violations.size > 1, 'the mutations must do something');
  assert.is(other.transport.violations.size, 0);
  assert.ok(growthMb < MAX_GROWTH_MB, `${growthMb} MB more`);
  assert.ok(
    rounds.every((count) => count > 0),
    String(rounds),
  );
  await attacked.close();
  await other.close();
  process.off('unhandledRejection', note).off('uncaughtException', note);
  assert.equal(unhandled, []);
});

test.run();
