import { fullRun, newDirectory } from '@teapot-kms/testing';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { H2Transport } from '../../src/transport/h2/transport.ts';
import type { Handler, Routes } from '../../src/transport/seam.ts';
import { SocketListener } from '../../src/transport/socket.ts';
import { GrpcGoClient } from './grpc-go/client.ts';

const VERSIONS = fullRun ? ['1.27.1', '1.56.3', '1.58.3', '1.65.0', '1.82.1', '1.85.0'] : ['1.27.1', '1.82.1'];

const later = (request: Buffer): Promise<Buffer> => {
  const copy = Buffer.from(request);
  return sleep(5).then(() => copy);
};

/** Which of the numbered calls of one run were answered. */
class Progress {
  /** The highest number that has come. */
  highest = -1;
  /** All calls below this number were answered. */
  #allBelow = 0;
  readonly #answeredAbove = new Set<number>();
  #waiting: { readonly number: number; readonly resolve: () => void }[] = [];

  readonly handler: Handler = async (request) => {
    const number = request.readUInt32BE(0);
    this.highest = Math.max(this.highest, number);
    const answer = await later(request);
    this.#answered(number);
    return answer;
  };

  /** Resolves when the calls up to this number were answered. */
  until(number: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ number, resolve });
      this.#resolveWaiting();
    });
  }

  #answered(number: number): void {
    this.#answeredAbove.add(number);
    while (this.#answeredAbove.delete(this.#allBelow)) this.#allBelow++;
    this.#resolveWaiting();
  }

  #resolveWaiting(): void {
    for (const { number, resolve } of this.#waiting) if (number < this.#allBelow) resolve();
    this.#waiting = this.#waiting.filter(({ number }) => number >= this.#allBelow);
  }
}

/** A server on a socket, whose transport can be replaced as an upgrade of the plugin does. */
class Served {
  readonly path = join(newDirectory(), 'kms.sock');
  readonly progress = new Progress();
  readonly #routes: Routes = new Map<string, Handler>([
    ['/test/Echo', (request: Buffer) => Buffer.from(request)],
    ['/test/Later', later],
    ['/test/Numbered', this.progress.handler],
    ['/test/Hang', () => new Promise<Buffer>(() => undefined)],
  ]);
  #transport = new H2Transport(this.#routes);
  #listener: SocketListener | undefined;

  async listen(): Promise<void> {
    const transport = this.#transport;
    const onConnection = transport.accept.bind(transport);
    this.#listener = await SocketListener.listen({ path: this.path, mode: 0o600, takeOver: true, onConnection });
  }

  /** A successor listens before its predecessor stops: no gap. */
  async handOver(): Promise<void> {
    const [transport, listener] = [this.#transport, this.#listener];
    this.#transport = new H2Transport(this.#routes);
    await this.listen();
    await listener?.close();
    await transport.drain(10_000);
  }

  get violations(): ReadonlyMap<string, number> {
    return this.#transport.violations;
  }

  async close(): Promise<void> {
    await this.#listener?.close();
    await this.#transport.drain(0);
  }
}

for (const version of VERSIONS) {
  const test = suite(`grpc-go ${version}`);
  const served = new Served();
  let client: GrpcGoClient;
  const ok = (calls: number) => ({ ok: calls, wrong: 0, failed: {} });

  test.before(async () => {
    client = new GrpcGoClient(version, served.path);
    await served.listen();
  });
  test.after(() => served.close());

  test('serial calls', async () => {
    assert.equal(await client.run('-calls', '2000'), ok(2_000));
  });

  test('3,000 calls at once', async () => {
    assert.equal(await client.run('-calls', '6000', '-parallel', '3000', '-timeout', '60s'), ok(6_000));
  });

  test('3,000 calls at once, none answered in its turn', async () => {
    const args = ['-method', '/test/Later', '-calls', '6000', '-parallel', '3000', '-timeout', '60s'];
    assert.equal(await client.run(...args), ok(6_000));
  });

  test('messages of 65,000 bytes, 300 at once', async () => {
    assert.equal(
      await client.run('-calls', '1000', '-parallel', '300', '-size', '65000', '-timeout', '60s'),
      ok(1_000),
    );
  });

  test('a message over the limit', async () => {
    assert.equal((await client.run('-size', '140000')).failed, { ResourceExhausted: 1 });
  });

  test('a deadline', async () => {
    const args = ['-method', '/test/Hang', '-calls', '20', '-parallel', '20', '-timeout', '300ms'];
    assert.equal((await client.run(...args)).failed, { DeadlineExceeded: 20 });
  });

  test('an unknown method', async () => {
    assert.equal((await client.run('-method', '/test/Other')).failed, { Unimplemented: 1 });
  });

  test('any :authority', async () => {
    for (const authority of ['localhost', '/var/run/kms.sock', '%2Fvar%2Frun%2Fkms.sock'])
      assert.equal(await client.run('-authority', authority), ok(1));
  });

  test('four hand-overs under load: no call fails', async () => {
    const parallel = 1_000;
    const load = client.load('-method', '/test/Numbered', '-parallel', `${parallel}`, '-timeout', '60s');
    for (let n = 0; n < 4; n++) {
      // grpc-go resends a call that was not processed once only (stream.go, shouldRetry). So no call may meet two hand-overs:
      // all that can have begun before the last one were answered, and the load runs on the connection that is handed over.
      await served.progress.until(served.progress.highest + parallel);
      await served.handOver();
    }
    await served.progress.until(served.progress.highest + parallel);
    const result = await load.stop();
    assert.equal(result, ok(result.ok));
    assert.ok(result.ok > 5 * parallel);
  });

  test('no client has violated the protocol', () => {
    assert.is(served.violations.size, 0);
  });

  test.run();
}
