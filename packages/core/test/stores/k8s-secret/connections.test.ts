// What happens while a connection is being opened. The clock moves only when a test moves it.
import { FakeApiServer, FakeClock, rejectsWithCode, until } from '@teapot-kms/testing';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Connections } from '../../../src/stores/k8s-secret/connections.ts';
import type { Credentials } from '../../../src/stores/k8s-secret/credentials.ts';
import { impatient, patient } from '../../support/context.ts';

interface Site {
  clock: FakeClock;
  connections: Connections;
  /** Of a server that accepts connections and says nothing. */
  silent: string;
  accepted: Set<Socket>;
  end: () => void;
}

const test = suite<Site>('connections');

test.before.each(async (site) => {
  site.clock = new FakeClock();
  site.connections = new Connections(site.clock);
  site.accepted = new Set();
  const server = createServer((socket) => {
    site.accepted.add(socket);
    socket
      .on('close', () => site.accepted.delete(socket))
      .on('error', () => undefined)
      .resume();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  site.silent = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  site.end = () => {
    for (const socket of site.accepted) socket.destroy();
    server.close();
  };
});
test.after.each(({ connections, end }) => {
  connections.close();
  end();
});

const credentialsOf = (url: string): Credentials => ({
  connectionId: url,
  server: new URL(url),
  description: url,
  ca: undefined,
  servername: undefined,
  proxy: undefined,
  exposed: [],
  headers: {},
});

const request = ({ connections }: Site, url: string, { signal }: { signal: AbortSignal }) =>
  connections.request(credentialsOf(url), { ':path': '/' }, false, signal);

const untilOpening = ({ accepted }: Site): Promise<true> =>
  until('a connection is being opened', () => accepted.size === 1, { everyMs: 5 });

test('what is closed while a connection is being opened leaves none, and opens none', async (site) => {
  const waiting = rejectsWithCode(() => request(site, site.silent, patient), 'ERR_KMS_CLOSED');
  await untilOpening(site);
  site.connections.close();
  await waiting;
  await until('it is closed', () => site.accepted.size === 0, { everyMs: 5 });
  await rejectsWithCode(() => request(site, site.silent, patient), 'ERR_KMS_CLOSED');
  assert.is(site.clock.pending, 0);
});

test('a caller who gives up does not wait for a connection; others do', async (site) => {
  const { signal, giveUp } = impatient();
  const givenUp = rejectsWithCode(() => request(site, site.silent, { signal }), 'ERR_KMS_CANCELLED');
  const waiting = rejectsWithCode(() => request(site, site.silent, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await untilOpening(site);
  giveUp();
  await givenUp;
  await site.clock.advance(5_000);
  await waiting;
});

test('a failure to reach the server of old credentials is none for new ones', async (site) => {
  const server = await FakeApiServer.start((stream) => stream.respond({ ':status': 200 }, { endStream: true }));
  const old = rejectsWithCode(() => request(site, site.silent, patient), 'ERR_KMS_STORE_UNAVAILABLE');
  await untilOpening(site);
  const stream = request(site, server.url, patient);
  await site.clock.advance(5_000);
  await old;
  (await stream).close();
  assert.is(server.connections, 1);
  server.close();
});

test.run();
