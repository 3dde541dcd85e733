// Whatever a store answers, a load delivers or is refused with an error of ours, and the process goes on.
import { FakeApiServer, newDirectory, secretObject, statusObject } from '@teapot-kms/testing';
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { ServerHttp2Stream } from 'node:http2';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest } from '../../src/keyset/manifest.ts';
import { BarbicanSource } from '../../src/stores/barbican/source.ts';
import { barbicanSettings } from '../../src/stores/barbican/settings.ts';
import { CloudConfiguration } from '../../src/stores/barbican/keystone/configuration.ts';
import { KeystoneSession } from '../../src/stores/barbican/keystone/session.ts';
import { openKeysetDirectory } from '../../src/stores/file/index.ts';
import { k8sSecretProvider } from '../../src/stores/k8s-secret/index.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { patient } from '../support/context.ts';
import { fuzzRuns } from '../support/fuzz.ts';
import { newKeyBytes } from '../support/keys.ts';
import { manifestOf } from '../support/manifests.ts';
import { damaged, HurriedClock, loadAgainAndAgain, mutated, Random } from '../support/random-answers.ts';

/** 10^5 in the full run. */
const RUNS = Math.min(fuzzRuns(400), 100_000);
/** `TEAPOT_FUZZ_SEED` repeats a run. */
const SEED = Number(process.env['TEAPOT_FUZZ_SEED'] ?? randomInt(2 ** 31));
const KEY = newKeyBytes();
const SECRET = '0a1b2c3d-0000-4000-8000-000000000001';
const MANIFEST_SECRET = '0a1b2c3d-0000-4000-8000-000000000002';

const manifest = manifestOf('promoted', 'pending');
const inBarbican = Buffer.from(
  formatManifest({ ...manifest, keys: manifest.keys.map((key) => ({ ...key, secret: SECRET })) }),
);

const STATUSES = [200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 409, 429, 500, 503, 99, 999];

/** What Keystone and Barbican answer to a request, if all is well. */
function rightAnswer(head: string, port: number): { status: number; headers: string[]; body: Buffer } {
  const [method, path = ''] = head.split(' ');
  const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));
  if (method === 'POST') {
    const endpoints = [{ interface: 'public', region: 'r', region_id: 'r', url: `http://127.0.0.1:${port}` }];
    const token = {
      issued_at: '2026-01-01T00:00:00.000000Z',
      expires_at: '2026-01-01T01:00:00.000000Z',
      user: { id: 'u', name: 'kms' },
      project: { id: 'p', name: 'p' },
      roles: [{ name: 'creator' }],
      catalog: [{ type: 'key-manager', name: 'barbican', endpoints }],
    };
    return { status: 201, headers: ['x-subject-token: secret-token'], body: json({ token }) };
  }
  if (path.includes('/payload')) {
    return { status: 200, headers: [], body: path.includes(MANIFEST_SECRET) ? inBarbican : KEY };
  }
  const secret = {
    secret_ref: `http://elsewhere/v1/secrets/${MANIFEST_SECRET}`,
    name: 'teapot-kms-keyset-k',
    creator_id: 'u',
    created: '2026-01-01T00:00:00',
    status: 'ACTIVE',
    content_types: { default: 'application/octet-stream' },
  };
  return { status: 200, headers: ['content-type: application/json'], body: json({ secrets: [secret], total: 1 }) };
}

/** Answers one request: right, nearly right, or anything. */
function answerHttp(socket: Socket, head: string, random: Random): void {
  const { port } = socket.address() as AddressInfo;
  const { status, headers, body } = rightAnswer(head, port);
  if (random.oneIn(40)) return void socket.destroy();
  if (random.oneIn(40)) return void socket.end(random.bytes(random.below(200)));
  const isWrong = (): boolean => random.oneIn(5);
  // A random key may begin with a brace too.
  const json = body !== KEY && body.subarray(0, 1).toString() === '{' && isWrong();
  let content: Buffer = json ? Buffer.from(JSON.stringify(mutated(JSON.parse(body.toString()), random))) : body;
  if (isWrong()) content = damaged(content, random);
  const code = isWrong() ? random.of(STATUSES) : status;
  const error = {
    error: { code, message: mutated('it said', random), title: 'x' },
    code,
    description: mutated('why', random),
  };
  if (code !== status && random.oneIn(2)) content = Buffer.from(JSON.stringify(error));
  const length = isWrong() && random.oneIn(3) ? random.of(['-1', '5', '99999999', 'x']) : String(content.length);
  const fields = isWrong()
    ? random.of([['transfer-encoding: chunked'], ['content-type: text/html'], ['x: \u0001'], ['location: http://[/']])
    : [];
  const lines = [`HTTP/1.1 ${code} X`, ...(random.oneIn(20) ? [] : headers), ...fields, `content-length: ${length}`];
  let answer: Buffer = Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), content]);
  if (random.oneIn(15)) answer = damaged(answer, random);
  // An answer that is shorter than it says would be waited for.
  socket.end(answer);
}

test(`barbican: ${RUNS} loads from random answers of Keystone and Barbican (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const server = createServer((socket) => {
    let head = '';
    socket
      .on('error', () => undefined)
      .on('data', (chunk: Buffer) => {
        head += chunk.toString('latin1');
        if (head.includes('\r\n\r\n')) answerHttp(socket, head, random);
      });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const environment = {
    OS_AUTH_URL: `http://127.0.0.1:${port}`,
    OS_USERNAME: 'kms',
    OS_PASSWORD: 'hunter2',
    OS_REGION_NAME: 'r',
  };
  const settings = barbicanSettings.parse({});
  const clock = new HurriedClock();
  const open = (): { source: BarbicanSource; session: KeystoneSession } => {
    const session = new KeystoneSession(new CloudConfiguration(settings, environment), clock);
    const close = (): Promise<void> => {
      session.close();
      return Promise.resolve();
    };
    const lease = { resource: session, release: close };
    return { source: new BarbicanSource({ name: 'k' }, settings, lease as never, clock), session };
  };
  let { source } = open();
  const { loaded } = await loadAgainAndAgain(
    'barbican',
    RUNS,
    (run) => {
      clock.skip(60_000);
      if (run % 50 !== 49) return;
      void source.close();
      ({ source } = open());
    },
    async () => (await source.load(patient)).destroy(),
  );
  assert.ok(loaded > 0, 'some answers must be right, or the test does not get far');
  await source.close();
  server.close();
});

test(`k8s-secret: ${RUNS} loads from random answers of an API server (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const data = { 'keyset.yaml': Buffer.from(formatManifest(manifest)), 'key-0.key': KEY, 'key-1.key': KEY };
  const right = secretObject({ name: 's', data });
  const refusal = statusObject('NotFound', 'secrets "s" not found 😀');
  const answer = (stream: ServerHttp2Stream): void => {
    const cut = random.below(60);
    if (cut === 0) return stream.close(random.below(14));
    if (cut === 1) return stream.session?.destroy();
    const isRefusal = random.oneIn(4);
    let body: Buffer = isRefusal ? refusal : right;
    if (random.oneIn(3)) body = damaged(body, random);
    if (random.oneIn(20)) body = random.bytes(random.below(100));
    const status = random.oneIn(5) ? random.of([201, 401, 403, 404, 410, 429, 500, 503]) : isRefusal ? 404 : 200;
    stream.respond({ ':status': status, 'content-type': random.of(['application/json', 'x', 'text/html']) });
    if (random.oneIn(20)) {
      stream.write(body.subarray(0, random.below(body.length + 1)));
      return stream.close(random.below(14));
    }
    stream.end(body);
  };
  const server = await FakeApiServer.start(answer);
  const clock = new HurriedClock();
  const shared = new SharedResources(undefined, clock);
  const settings = { kubeconfig: server.kubeconfig, serves: 'unchecked' };
  const source = k8sSecretProvider.open('k8s-secret:ns/s', settings, shared);
  const { loaded } = await loadAgainAndAgain(
    'k8s-secret',
    RUNS,
    () => {
      clock.skip(60_000);
      server.requests.length = 0;
    },
    async () => (await source.load(patient)).destroy(),
  );
  assert.ok(loaded > 0);
  await source.close?.();
  server.close();
});

test(`file: ${RUNS} loads of random files (seed ${SEED})`, async () => {
  const random = new Random(SEED);
  const directory = newDirectory();
  const source = openKeysetDirectory(`file:${directory}`, { allowGroupRead: false });
  const text = Buffer.from(formatManifest(manifest));
  const { loaded } = await loadAgainAndAgain(
    'file',
    RUNS,
    () => {
      const wrong = random.oneIn(2) ? damaged(text, random) : Buffer.from(JSON.stringify(mutated(manifest, random)));
      writeFileSync(join(directory, 'keyset.yaml'), random.oneIn(10) ? text : wrong);
      for (const id of ['key-0', 'key-1']) {
        const blob = random.oneIn(10) ? damaged(KEY, random) : KEY;
        writeFileSync(join(directory, `${id}.key`), blob, { mode: 0o600 });
      }
    },
    async () => (await source.load(patient)).destroy(),
  );
  assert.ok(loaded > 0);
});

test.run();
