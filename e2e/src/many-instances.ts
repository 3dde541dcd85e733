import { Daemon, freePort, launcher } from '@teapot-kms/testing/daemons';
import { figure, timed, until } from '@teapot-kms/testing';
import { generateKey, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { KmsClient } from '@teapot-kms/server';
import { randomBytes } from 'node:crypto';
import { copyFileSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_KUBERNETES } from './binaries.ts';
import { ManagementCluster, readerRules } from './management-cluster.ts';
import { inParallel } from './objects.ts';

const NAMESPACE = 'tenants';
/** The tenant that comes later. */
const ADDED = 'tenant-added';

/** What was seen of a process with many instances. */
export interface ManyInstances {
  readonly count: number;
  /** Instances that answered Status, Encrypt and Decrypt well. */
  readonly answering: number;
  /** Until every instance has its key. */
  readonly startSeconds: number;
  readonly residentMiB: number;
  readonly fileDescriptors: number;
  /** From the edit of the configuration until an instance more answers, while the first one's connection goes on. */
  readonly addSeconds: number;
  /** TCP connections to the management cluster's API. */
  readonly apiConnections: number;
}

/**
 * Starts a management cluster with a Secret for each of `count` instances, and one plugin that serves them all.
 * @throws MissingBinary
 */
export async function runManyInstances(count: number): Promise<ManyInstances> {
  const cluster = await ManagementCluster.start(`instances-${count}`, DEFAULT_KUBERNETES);
  let plugin: Daemon | undefined;
  try {
    const names = Array.from({ length: count }, (_, index) => `tenant-${String(index).padStart(4, '0')}`);
    const kubeconfig = await makeSecrets(cluster, [...names, ADDED]);
    const one = await startPlugin(cluster, kubeconfig, names.slice(0, 1));
    const base = residentMiB(one.daemon);
    await one.daemon.stop();
    const started = await startPlugin(cluster, kubeconfig, names);
    plugin = started.daemon;
    const answering = await askAll(cluster, names);
    // What start and questions have left behind is collected within seconds.
    const seen = {
      count,
      answering,
      startSeconds: started.seconds,
      residentMiB: residentMiB(plugin),
      fileDescriptors: readdirSync(`/proc/${plugin.pid}/fd`).length,
      apiConnections: connectionsTo(plugin, new URL(cluster.apiserver.url).port),
    };
    const scraped = await scrape(started.port);
    const all = { ...seen, addSeconds: await addOne(cluster, kubeconfig, names, started) };
    report(all, base, scraped);
    return all;
  } finally {
    await plugin?.stop();
    const logs = process.env['TEAPOT_TEST_LOG_DIR'];
    if (logs !== undefined)
      copyFileSync(join(cluster.directory, 'plugin.log'), join(logs, `instances-${count}-plugin.log`));
    await cluster.close();
  }
}

async function makeSecrets(cluster: ManagementCluster, names: readonly string[]): Promise<string> {
  await cluster.ensure('/api/v1/namespaces', { metadata: { name: NAMESPACE } });
  await cluster.grant(NAMESPACE, 'teapot-kms', readerRules(...names));
  const shared = new SharedResources();
  const open = (name: string): KeysetSource => {
    const uri = `k8s-secret:${NAMESPACE}/${name}`;
    return providerFor(uri).open(uri, { kubeconfig: cluster.adminKubeconfig }, shared) as KeysetSource;
  };
  const keepOpen = open('unused');
  await inParallel(names, 8, async (name) => {
    const source = open(name);
    await generateKey(source.admin!);
    await source.close?.();
  });
  await keepOpen.close?.();
  const kubeconfig = join(cluster.directory, 'plugin.kubeconfig');
  cluster.writeKubeconfig(kubeconfig, { token: await cluster.token(NAMESPACE, 'teapot-kms') });
  return kubeconfig;
}

const socketOf = ({ directory }: ManagementCluster, name: string): string => join(directory, 'run', name, 'kms.sock');

function writeConfig(
  file: string,
  port: number,
  cluster: ManagementCluster,
  kubeconfig: string,
  names: readonly string[],
): void {
  const serves = `sha256:${'0'.repeat(64)}`;
  const instances = names.map((name) => ({
    name,
    socket: socketOf(cluster, name),
    keys: { uri: `k8s-secret:${NAMESPACE}/${name}`, kubeconfig, serves },
  }));
  writeFileSync(
    file,
    JSON.stringify({ version: 1, http: { port }, stateDirectory: `${file}.state`, instances }, null, 1),
  );
}

async function startPlugin(cluster: ManagementCluster, kubeconfig: string, names: readonly string[]) {
  const port = await freePort();
  const config = join(cluster.directory, `config-${names.length}.yaml`);
  writeConfig(config, port, cluster, kubeconfig, names);
  const started = performance.now();
  const daemon = new Daemon({
    name: 'the plugin',
    command: launcher(),
    args: ['serve', '--config', config],
    logFile: join(cluster.directory, 'plugin.log'),
  });
  const ready = async () => {
    daemon.checkRunning();
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
  };
  await until('every instance is ready', ready, { timeoutMs: 120_000, everyMs: 50 });
  return { daemon, port, config, seconds: (performance.now() - started) / 1000 };
}

/** Adds an instance to those that run; an error where that disturbs the first one's connection. */
async function addOne(
  cluster: ManagementCluster,
  kubeconfig: string,
  names: readonly string[],
  { port, config }: { readonly port: number; readonly config: string },
): Promise<number> {
  const first = connect(socketOf(cluster, names[0]!)).resume();
  const client = new KmsClient(socketOf(cluster, ADDED), 1_000);
  try {
    return await timed(async () => {
      writeConfig(config, port, cluster, kubeconfig, [...names, ADDED]);
      await until('the added instance answers', async () => (await client.status()).healthz === 'ok', { everyMs: 10 });
      if (first.destroyed || first.readableEnded) throw new Error('a connection that was open has ended');
    });
  } finally {
    client.close();
    first.destroy();
  }
}

/** Each instance opens what it has sealed, and no other's. */
async function askAll(cluster: ManagementCluster, names: readonly string[]): Promise<number> {
  let answering = 0;
  await inParallel(names, 8, async (name) => {
    const client = new KmsClient(socketOf(cluster, name), 10_000);
    try {
      const { healthz, keyId } = await client.status();
      const plaintext = randomBytes(32);
      const sealed = await client.encrypt(plaintext, name);
      const opened = await client.decrypt(sealed.ciphertext, sealed.keyId, name);
      if (healthz === 'ok' && sealed.keyId === keyId && opened.equals(plaintext)) answering++;
    } finally {
      client.close();
    }
  });
  return answering;
}

async function scrape(port: number): Promise<{ readonly ms: number; readonly kilobytes: number }> {
  let kilobytes = 0;
  const seconds = await timed(async () => {
    kilobytes = (await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()).length / 1000;
  });
  return { ms: Math.round(seconds * 1000), kilobytes: Math.round(kilobytes) };
}

function residentMiB({ pid }: Daemon): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) / 1024;
}

/** Established TCP connections of a process to a port of this host. */
function connectionsTo({ pid }: Daemon, port: string): number {
  const inodes = new Set(readdirSync(`/proc/${pid}/fd`).flatMap((fd) => inodeOf(`/proc/${pid}/fd/${fd}`)));
  const remote = `:${Number(port).toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = readFileSync(`/proc/${pid}/net/tcp`, 'utf8').split('\n').slice(1);
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , peer, state, , , , , , inode]) => peer?.endsWith(remote) && state === '01' && inodes.has(inode ?? ''))
    .length;
}

/** Descriptors come and go while we look. */
function inodeOf(fd: string): string[] {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(fd))?.slice(1) ?? [];
  } catch {
    return [];
  }
}

function report(
  { count, answering, startSeconds, residentMiB, fileDescriptors, apiConnections, addSeconds }: ManyInstances,
  base: number,
  scrape: { readonly ms: number; readonly kilobytes: number },
): void {
  const [cpu] = cpus();
  figure('machine', `${cpus().length} × ${cpu?.model ?? 'unknown'}, Node ${process.version}`);
  const of = (what: string): string => `${count} instances: ${what}`;
  figure(of('seconds until all are ready'), startSeconds.toFixed(1));
  figure(of('that answer Status, Encrypt and Decrypt'), answering);
  figure(of('resident memory, MiB'), residentMiB.toFixed(0));
  figure(of('resident memory of one instance alone, MiB'), base.toFixed(0));
  figure(
    of('more memory for each further one, KiB'),
    (((residentMiB - base) * 1024) / Math.max(1, count - 1)).toFixed(0),
  );
  figure(of('file descriptors'), fileDescriptors);
  figure(of('connections to the management API'), apiConnections);
  figure(of('seconds until one that is added answers'), addSeconds.toFixed(2));
  figure(of('a scrape of /metrics'), `${scrape.ms} ms, ${scrape.kilobytes} kB`);
}
