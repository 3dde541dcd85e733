import { FakeClock } from '@teapot-kms/testing';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { serveHttp } from '../../src/observability/http.ts';

async function fetchOnceUp(url: string): Promise<Response> {
  for (;;) {
    try {
      return await fetch(url);
    } catch {
      await setImmediate();
    }
  }
}

test('a port that is taken is tried again until it is free', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const { port } = other.address() as AddressInfo;
  const clock = new FakeClock();
  const content = { metrics: () => '', health: () => Promise.resolve([{ name: 'a', healthz: 'no key' }]) };
  let stop = (): void => undefined;
  const logged = await new Promise<string>((write) => {
    stop = serveHttp({ host: '127.0.0.1', port }, content, pino({}, { write }), clock);
  });
  assert.match(logged, 'EADDRINUSE');
  other.close();
  await once(other, 'close');
  await clock.advance(1_000);
  const response = await fetchOnceUp(`http://127.0.0.1:${port}/readyz`);
  assert.is(response.status, 503);
  assert.is(await response.text(), '[-]a failed: no key\n');
  stop();
});

test.run();
