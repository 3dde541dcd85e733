import { FakeClock } from '@teapot-kms/testing';
import { SocketListener, transports } from '@teapot-kms/server/internal';
import type { Handler } from '@teapot-kms/server/internal';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Counted } from './counters.ts';

const FLOOD = 600;
const TURNS = 100;
const [DATA, HEADERS, SETTINGS] = [0, 1, 4];
const [END_STREAM, END_HEADERS] = [1, 4];
const GREETING = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0)]);
/** POST, http, and literals without indexing: `:path`, `content-type` (RFC 7541 §6.2.2 and appendix A). */
const BLOCK = Buffer.from('\x83\x86\x04\x0a/test/Call\x0f\x10\x10application/grpc', 'latin1');

/** How many calls of a connection that has many are served while a call of another one waits in the kernel. */
export async function countTurns(): Promise<Counted> {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-gate-'));
  const path = join(directory, 's');
  const served: object[] = [];
  let onFirst = (): void => undefined;
  const handler: Handler = (_, { connection }) => {
    if (served.push(connection) === 1) onFirst();
    return Buffer.alloc(1);
  };
  // No time passes: the share of a turn is one of calls, not of ms.
  const transport = transports.h2(new Map([['/test/Call', handler]]), { clock: new FakeClock() });
  const onConnection = transport.accept.bind(transport);
  const listener = await SocketListener.listen({ path, mode: 0o600, takeOver: false, onConnection });
  const open = async (): Promise<Socket> => {
    const socket = connect(path).resume();
    await once(socket, 'connect');
    socket.write(Buffer.concat([GREETING, call(1)]));
    for (const before = served.length; served.length === before;) await turn();
    return socket;
  };
  const [busy, quiet] = [await open(), await open()];
  const [, quietOnes] = served;
  served.length = 0;
  onFirst = () => quiet.write(call(3));
  busy.write(Buffer.concat(Array.from({ length: FLOOD }, (_, n) => call(2 * n + 3))));
  for (let n = 0; n < TURNS && served.length <= FLOOD; n++) await turn();
  for (const socket of [busy, quiet]) socket.destroy();
  await Promise.all([listener.close(), transport.drain(0)]);
  rmSync(directory, { recursive: true, force: true });
  return { 'calls of one connection while one of another waits': served.indexOf(quietOnes!) };
}

/** A call with an empty message. */
function call(id: number): Buffer {
  return Buffer.concat([frame(HEADERS, END_HEADERS, id, BLOCK), frame(DATA, END_STREAM, id, Buffer.alloc(5))]);
}

function frame(type: number, flags: number, id: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(id, 5);
  return Buffer.concat([header, payload]);
}
