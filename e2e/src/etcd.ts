import { Daemon, freePort } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Binaries } from './binaries.ts';

export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  /** How often it was written. */
  readonly version?: number;
}

interface RangeAnswer {
  readonly kvs?: readonly { readonly key: string; readonly value?: string; readonly version?: string }[];
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** An etcd of its own for one cluster, read through its JSON gateway so that no etcdctl is needed. */
export class Etcd {
  readonly url: string;
  readonly #daemon: Daemon;

  private constructor(url: string, daemon: Daemon) {
    this.url = url;
    this.#daemon = daemon;
  }

  /** @param snapshot - a file of {@link saveSnapshot}, which it begins with */
  static async start(
    { etcd: binary, etcdctl }: Pick<Binaries, 'etcd' | 'etcdctl'>,
    directory: string,
    snapshot?: string,
  ): Promise<Etcd> {
    const url = `http://127.0.0.1:${await freePort()}`;
    const peerUrl = `http://127.0.0.1:${await freePort()}`;
    const dataDirectory = join(directory, 'etcd');
    if (snapshot !== undefined) {
      const member = ['--name', 'e2e', '--initial-cluster', `e2e=${peerUrl}`, '--initial-advertise-peer-urls', peerUrl];
      runEtcdctl(etcdctl, ['snapshot', 'restore', snapshot, '--data-dir', dataDirectory, ...member]);
    }
    const args = ['--name', 'e2e', '--data-dir', dataDirectory, '--log-level', 'error'];
    args.push('--listen-client-urls', url, '--advertise-client-urls', url);
    args.push('--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl);
    args.push('--initial-cluster', `e2e=${peerUrl}`);
    const etcd = new Etcd(
      url,
      new Daemon({ name: 'etcd', command: binary, args, logFile: join(directory, 'etcd.log') }),
    );
    await until('etcd answers', async () => {
      etcd.#daemon.checkRunning();
      return (await fetch(`${url}/health`)).ok;
    });
    return etcd;
  }

  /** The bytes as they lie in etcd. */
  async get(key: string): Promise<Buffer | undefined> {
    return (await this.#range({ key: base64(key) }))[0]?.value;
  }

  /** All keys that begin with `prefix`, which must end with "/". */
  list(prefix: string): Promise<KeyValue[]> {
    // "0" follows "/" in ASCII: the end of the range is the first key that no longer has the prefix.
    return this.#range({ key: base64(prefix), range_end: base64(`${prefix.slice(0, -1)}0`) });
  }

  /** Puts bytes there past every kube-apiserver. */
  async put(key: string, value: Buffer): Promise<void> {
    await this.#post('kv/put', { key: base64(key), value: value.toString('base64') });
  }

  /** Puts many in few writes: etcd allows 128 operations in one. */
  async putAll(objects: readonly KeyValue[]): Promise<void> {
    for (let from = 0; from < objects.length; from += 128) {
      const success = objects.slice(from, from + 128).map(({ key, value }) => ({
        requestPut: { key: base64(key), value: value.toString('base64') },
      }));
      await this.#post('kv/txn', { success });
    }
  }

  /** Forgets all revisions before this one. */
  async compact(revision: number): Promise<void> {
    await this.#post('kv/compaction', { revision: String(revision) });
  }

  async delete(key: string): Promise<void> {
    await this.#post('kv/deleterange', { key: base64(key) });
  }

  /** Writes what it contains into a file, as an operator backs it up. */
  saveSnapshot(etcdctl: string, file: string): void {
    runEtcdctl(etcdctl, ['--endpoints', this.url, 'snapshot', 'save', file]);
  }

  async stop(): Promise<void> {
    await this.#daemon.kill();
  }

  async #range(request: Record<string, string>): Promise<KeyValue[]> {
    const { kvs = [] } = (await this.#post('kv/range', request)) as RangeAnswer;
    return kvs.map(({ key, value = '', version }) => ({
      key: Buffer.from(key, 'base64').toString(),
      value: Buffer.from(value, 'base64'),
      version: Number(version),
    }));
  }

  async #post(operation: string, request: object): Promise<unknown> {
    const response = await fetch(`${this.url}/v3/${operation}`, { method: 'POST', body: JSON.stringify(request) });
    if (!response.ok) throw new Error(`etcd: ${response.status} ${await response.text()}`);
    return response.json();
  }
}

function runEtcdctl(etcdctl: string, args: readonly string[]): void {
  execFileSync(etcdctl, args, { env: { ...process.env, ETCDCTL_API: '3' }, stdio: 'pipe' });
}
