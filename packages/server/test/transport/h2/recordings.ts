import { Client, credentials } from '@grpc/grpc-js';
import { until } from '@teapot-kms/testing';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';

export interface RecordedCall {
  readonly path: string;
  readonly request: Buffer;
}

const identity = (bytes: Buffer): Buffer => bytes;

/**
 * Records what a real client sends over a connection, from its preface on.
 * @param socket - of a server
 * @param between - where to listen for the client
 */
export async function recordSession(socket: string, between: string, calls: readonly RecordedCall[]): Promise<Buffer> {
  const sent: Buffer[] = [];
  const sockets: Socket[] = [];
  const relay = createServer((client) => {
    const server = connect(socket);
    sockets.push(client, server);
    client.on('data', (chunk: Buffer) => sent.push(Buffer.from(chunk)));
    client.pipe(server).pipe(client);
    for (const one of [client, server]) one.on('error', () => one.destroy());
  });
  relay.listen(between);
  await once(relay, 'listening');
  const client = new Client(`unix:${between}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  });
  let answered = 0;
  for (const { path, request } of calls) {
    client.makeUnaryRequest(path, identity, identity, request, { deadline: Date.now() + 60_000 }, () => answered++);
  }
  await until('every call has ended', () => answered === calls.length, { everyMs: 5 });
  client.close();
  for (const one of sockets) one.destroy();
  relay.close();
  return Buffer.concat(sent);
}
