import {
  Cluster,
  DEFAULT_KUBERNETES,
  fileKeyStore,
  findBinaries,
  inParallel,
  secret,
  SECRETS,
  untilDefaultNamespace,
} from '@teapot-kms/e2e';
import type { ApiClient, EncryptionProvider, KubeList } from '@teapot-kms/e2e';
import { timed, until } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';

const COUNT = 10_000;
const WRITERS = 48;
const ROUNDS = 3;
const POLL_MS = 50;
const TIMEOUT_MS = 180_000;

const PROVIDERS: readonly EncryptionProvider[] = ['secretbox', 'v1', 'v2'];

export const apiserverRestart: Scenario = {
  name: 'apiserver-restart',
  about: `a real kube-apiserver restarted over ${COUNT} Secrets: KMS v1 and v2 by the plugin beside the local secretbox provider`,
  missing() {
    try {
      findBinaries(DEFAULT_KUBERNETES);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  },
  async run(record) {
    const filled: Filled[] = [];
    try {
      for (const provider of PROVIDERS) filled.push(await fill(record, provider));
      for (let round = 0; round < ROUNDS; round++) for (const one of filled) await restart(one);
    } finally {
      await Promise.all(filled.map(({ cluster }) => cluster.close(false)));
    }
    for (const one of filled) reportRestarts(record, one);
    const [secretbox, v1, v2] = filled;
    const ratios = (ours: Filled, time: 'readyS' | 'cacheFullS'): number[] => {
      const local = median(secretbox!.restarts.map((one) => one[time]));
      return ours.restarts.map((one) => one[time] / local);
    };
    record.figure('apiserver-restart-v1', ratios(v1!, 'cacheFullS'));
    record.measured('v1 ÷ secretbox: restart to ready', '×', ratios(v1!, 'readyS'));
    record.measured('v2 ÷ secretbox: restart to a full watch cache', '×', ratios(v2!, 'cacheFullS'));
    record.measured('v2 ÷ secretbox: restart to ready', '×', ratios(v2!, 'readyS'));
  },
};

interface Restart {
  readonly readyS: number;
  readonly cacheFullS: number;
  readonly decrypts: number;
}

/** A cluster that holds {@link COUNT} Secrets, with its kube-apiserver stopped. */
interface Filled {
  readonly provider: EncryptionProvider;
  readonly cluster: Cluster;
  /** Contents of each Secret, by name. */
  readonly contents: ReadonlyMap<string, string>;
  readonly restarts: Restart[];
}

async function fill(record: Recorder, provider: EncryptionProvider): Promise<Filled> {
  const cluster = await Cluster.create({
    name: `bench-${provider}`,
    kubernetes: DEFAULT_KUBERNETES,
    keyStore: fileKeyStore,
    encrypted: [{ resources: ['secrets'], providers: [provider] }],
    featureGates: provider === 'v1' ? ['KMSv1=true'] : [],
  });
  try {
    if (provider !== 'secretbox') await cluster.plugin.start();
    await cluster.apiserver.start();
    await untilDefaultNamespace(cluster.client);
    const contents = new Map(
      Array.from({ length: COUNT }, (_, n) => [`secret-${n}`, randomBytes(64).toString('base64')]),
    );
    const create = ([name, value]: readonly [string, string]): Promise<unknown> =>
      cluster.client.create(SECRETS, secret(name, Buffer.from(value, 'base64')));
    const createS = await timed(() => inParallel([...contents], WRITERS, create));
    const listS = await timed(async () => checkAll(await cluster.client.list(SECRETS), contents));
    record.measured(`${provider}: create ${COUNT} Secrets, ${WRITERS} at a time`, 's', [createS]);
    record.measured(`${provider}: list them`, 's', [listS]);
    await checkEncrypted(cluster, provider);
    await cluster.apiserver.stop();
    return { provider, cluster, contents, restarts: [] };
  } catch (error) {
    await cluster.close(true);
    throw error;
  }
}

async function restart({ provider, cluster, contents, restarts }: Filled): Promise<void> {
  const { apiserver, client } = cluster;
  const before = await decrypts(cluster, provider);
  const started = performance.now();
  const sinceStart = (): number => (performance.now() - started) / 1000;
  apiserver.spawn();
  const [readyS, cacheFullS] = await Promise.all([
    apiserver.untilReady().then(sinceStart),
    untilCacheFull(client).then(sinceStart),
  ]);
  checkAll(await client.list(`${SECRETS}?resourceVersion=0`), contents);
  restarts.push({ readyS, cacheFullS, decrypts: (await decrypts(cluster, provider)) - before });
  await apiserver.stop();
}

/** kube-apiserver increments this counter when it has read and decrypted all Secrets in etcd. */
async function untilCacheFull(client: ApiClient): Promise<void> {
  const isFull = async (): Promise<boolean> =>
    (await client.metrics()).sum('apiserver_watch_cache_initializations_total', { resource: 'secrets' }) > 0;
  await until('the watch cache of Secrets is full', isFull, { timeoutMs: TIMEOUT_MS, everyMs: POLL_MS });
}

function checkAll({ items }: KubeList, contents: ReadonlyMap<string, string>): void {
  if (items.length !== COUNT) throw new Error(`expected ${COUNT} Secrets in the list, found ${items.length}`);
  for (const { metadata, data } of items) {
    if (data?.['value'] !== contents.get(metadata.name)) throw new Error(`Secret ${metadata.name} has changed`);
  }
}

/** Checks that the Secrets are encrypted by `provider`. */
async function checkEncrypted({ etcd }: Cluster, provider: EncryptionProvider): Promise<void> {
  const stored = await etcd.get('/registry/secrets/default/secret-0');
  const prefix = provider === 'secretbox' ? 'k8s:enc:secretbox:v1:local:' : `k8s:enc:kms:${provider}:`;
  if (stored?.toString('latin1').startsWith(prefix) !== true)
    throw new Error(`etcd holds no value with the prefix ${prefix}`);
}

/** Returns the number of Decrypts by the plugin so far. */
async function decrypts({ plugin }: Cluster, provider: EncryptionProvider): Promise<number> {
  return provider === 'secretbox' ? 0 : plugin.calls(provider === 'v1' ? 'v1beta1' : 'v2', 'Decrypt');
}

function reportRestarts(record: Recorder, { provider, restarts }: Filled): void {
  const each = (pick: (restart: Restart) => number): number[] => restarts.map(pick);
  record.measured(
    `${provider}: restart to ready`,
    's',
    each(({ readyS }) => readyS),
  );
  record.measured(
    `${provider}: restart to a full watch cache`,
    's',
    each(({ cacheFullS }) => cacheFullS),
  );
  if (provider !== 'secretbox') {
    record.measured(
      `${provider}: Decrypts of the plugin at a restart`,
      '',
      each((one) => one.decrypts),
    );
  }
}
