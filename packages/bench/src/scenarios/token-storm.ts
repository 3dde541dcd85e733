import { generateKey, LocalKekService, providerFor, SharedResources } from '@teapot-kms/core';
import type { RemoteKek } from '@teapot-kms/core';
import { KmsClient } from '@teapot-kms/server';
import { Daemon, figure, Shim, SoftHsm, timed, until } from '@teapot-kms/test-parts';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const DECRYPTS = 10_000;
const KEYS = 500;
const SESSIONS = 8;
const LATENCY_MS = 5;
/** What 500 calls of 5 ms take 8 sessions at least. */
const IDEAL_S = (KEYS * LATENCY_MS) / SESSIONS / 1_000;
/** Calls in flight through the socket: kube-apiserver opens no more streams at a time than it has decryptions to do. */
const IN_FLIGHT = 1_000;

interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly plaintext: Buffer;
}

/** ms after the start in which the token host gets its threads: what is cold here is the cache. */
const WARM_UP_MS = 2_000;

const patient = { signal: new AbortController().signal };

/** A restart with a cold cache: 10,000 Decrypts over 500 wrapped keys, on a token that takes 5 ms a call. */
export async function tokenStorm(): Promise<void> {
  const missing = SoftHsm.missing() ?? Shim.missing();
  if (missing !== undefined) {
    console.log(`SKIPPED token-storm: ${missing}`);
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'teapot-bench-'));
  try {
    const shim = Shim.over(await SoftHsm.create(join(directory, 'hsm')));
    Object.assign(process.env, shim.env);
    const uri = `pkcs11:token=${shim.label};object=kek?module-path=${shim.module}&pin-source=file:${shim.pinFile}`;
    const keys = {
      uri,
      keyset: join(directory, 'keyset'),
      stateDirectory: join(directory, 'state'),
      sessions: SESSIONS,
    };
    const sealed = await prepare(keys);
    shim.orders(`latency C_Decrypt ${LATENCY_MS}`);
    await inProcess(keys, shim, sealed);
    await throughSocket(directory, keys, shim, sealed);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

type Keys = { readonly uri: string } & Readonly<Record<string, unknown>>;

function open({ uri, ...settings }: Keys): RemoteKek {
  const provider = providerFor(uri);
  return provider.open(uri, provider.settings.parse(settings), new SharedResources()) as RemoteKek;
}

/** What 500 starts of a replica have sealed: each under a local KEK of its own. */
async function prepare(keys: Keys): Promise<Sealed[]> {
  const remote = open(keys);
  await generateKey(remote.admin!);
  const service = new LocalKekService({ remote, direct: true, maxPending: KEYS });
  service.start();
  const sealed = await Promise.all(
    Array.from({ length: KEYS }, async () => {
      const plaintext = randomBytes(32);
      return { ...(await service.encrypt(plaintext, patient)), plaintext };
    }),
  );
  await service.close();
  return sealed;
}

async function inProcess(keys: Keys, shim: Shim, sealed: readonly Sealed[]): Promise<void> {
  const service = new LocalKekService({ remote: open(keys), maxPending: KEYS });
  service.start();
  await until('a key is known', async () => (await service.status()).healthz === 'ok');
  await sleep(WARM_UP_MS);
  const before = service.describe().counters;
  shim.resetCounters();
  const seconds = await timed(() =>
    storm(sealed, async (one) => service.decrypt(one, { signal: new AbortController().signal })),
  );
  const after = service.describe().counters;
  const grown = (name: string): number => (after[name] ?? 0) - (before[name] ?? 0);
  report('in one process', seconds, shim.calls('C_Decrypt'));
  figure('token calls a message over the pipe', (KEYS / grown('token_host_messages')).toFixed(2));
  await service.close();
}

async function throughSocket(directory: string, keys: Keys, shim: Shim, sealed: readonly Sealed[]): Promise<void> {
  const socket = join(directory, 'run/kms.sock');
  const file = join(directory, 'teapot-kms.yaml');
  writeFileSync(file, JSON.stringify({ version: 1, http: false, instances: [{ name: 'main', socket, keys }] }));
  const main = join(import.meta.dirname, '../../../server/src/cli/main.ts');
  const daemon = new Daemon({
    name: 'the plugin',
    command: process.execPath,
    args: ['--disable-sigusr1', '--conditions=teapot-source', main, 'serve', '--config', file],
    logFile: join(directory, 'plugin.log'),
  });
  const client = new KmsClient(socket, 30_000);
  try {
    await until('the plugin answers', async () => {
      daemon.checkRunning();
      return (await client.status()).healthz === 'ok';
    });
    await sleep(WARM_UP_MS);
    shim.resetCounters();
    const decrypt = (one: Sealed): Promise<Buffer> => client.decrypt(one.ciphertext, one.keyId, 'bench');
    report('through the socket', await timed(() => storm(sealed, decrypt, IN_FLIGHT)), shim.calls('C_Decrypt'));
  } finally {
    client.close();
    await daemon.stop();
  }
}

/** @throws Error for a wrong answer: a figure of wrong answers is worth nothing */
async function storm(
  sealed: readonly Sealed[],
  decrypt: (one: Sealed) => Promise<Buffer>,
  inFlight = DECRYPTS,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < DECRYPTS) {
      const one = sealed[next++ % sealed.length]!;
      if (!(await decrypt(one)).equals(one.plaintext)) throw new Error('a Decrypt gave a wrong plaintext');
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
}

function report(where: string, seconds: number, tokenCalls: number): void {
  const what = `${DECRYPTS} cold Decrypts over ${KEYS} wrapped keys, ${LATENCY_MS} ms a token call, ${where}`;
  figure(what, `${seconds.toFixed(3)} s, ${(seconds / IDEAL_S).toFixed(2)} of the ideal, ${tokenCalls} token calls`);
}
