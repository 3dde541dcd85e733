import { Daemon, freePort } from '@teapot-kms/testing/daemons';
import type { Exit } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiClient } from './api-client.ts';

const TOKEN = 'teapot-e2e';

export interface KubeApiserverOptions {
  readonly binary: string;
  readonly directory: string;
  readonly etcdUrl: string;
  readonly logFile: string;
  /** Where its objects lie in etcd, for several that share one. */
  readonly etcdPrefix?: string;
  /** Of its own (needs root): the name of its identity Lease comes from it, for several on this host. */
  readonly hostname?: string;
}

/** The smallest kube-apiserver that can be used (all flags are needed), with its own certificate and one admin token. */
export class KubeApiserver {
  readonly client: ApiClient;
  readonly #options: KubeApiserverOptions;
  readonly #port: number;
  #binary: string;
  #encryptionFile: string | undefined;
  #featureGates: readonly string[] = [];
  #daemon: Daemon | undefined;

  private constructor(options: KubeApiserverOptions, port: number) {
    this.#options = options;
    this.#binary = options.binary;
    this.#port = port;
    const certificate = join(options.directory, 'certs/apiserver.crt');
    this.client = new ApiClient({ port, token: TOKEN, ca: () => readFileSync(certificate) });
  }

  static async prepare(options: KubeApiserverOptions): Promise<KubeApiserver> {
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    });
    writeFileSync(join(options.directory, 'service-accounts.key'), privateKey, { mode: 0o600 });
    writeFileSync(join(options.directory, 'tokens.csv'), `${TOKEN},admin,1,"system:masters"\n`, { mode: 0o600 });
    return new KubeApiserver(options, await freePort());
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** Of an administrator. */
  readonly token = TOKEN;

  /** PEM: its own certificate, and the authority that it made for it at its first start. */
  get authority(): Buffer {
    return readFileSync(join(this.#options.directory, 'certs/apiserver.crt'));
  }

  get pid(): number | undefined {
    return this.#daemon?.pid;
  }

  /** Takes effect at the next start. */
  setBinary(binary: string): void {
    this.#binary = binary;
  }

  /** Takes effect at the next start. */
  setEncryption(encryptionConfiguration: string, featureGates: readonly string[]): void {
    const file = join(this.#options.directory, 'encryption.yaml');
    writeFileSync(file, encryptionConfiguration, { mode: 0o600 });
    this.#encryptionFile = file;
    this.#featureGates = featureGates;
  }

  /** Does not wait until it is ready. */
  spawn(): void {
    const { directory, logFile, etcdUrl, etcdPrefix = '/registry', hostname } = this.#options;
    const file = (name: string): string => join(directory, name);
    const args = [
      `--etcd-servers=${etcdUrl}`,
      `--etcd-prefix=${etcdPrefix}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-signing-key-file=${file('service-accounts.key')}`,
      `--service-account-key-file=${file('service-accounts.key')}`,
      '--service-cluster-ip-range=10.0.0.0/24',
      '--bind-address=127.0.0.1',
      `--secure-port=${this.#port}`,
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      `--cert-dir=${file('certs')}`,
      `--token-auth-file=${file('tokens.csv')}`,
      '--authorization-mode=RBAC',
      '--disable-admission-plugins=ServiceAccount',
    ];
    if (this.#encryptionFile !== undefined) {
      args.push(`--encryption-provider-config=${this.#encryptionFile}`);
      args.push('--encryption-provider-config-automatic-reload=true');
    }
    if (this.#featureGates.length > 0) args.push(`--feature-gates=${this.#featureGates.join(',')}`);
    const named = ['--uts', 'sh', '-c', `hostname ${hostname ?? ''} && exec "$0" "$@"`, this.#binary, ...args];
    const command = hostname === undefined ? { command: this.#binary, args } : { command: 'unshare', args: named };
    this.#daemon = new Daemon({ name: 'kube-apiserver', ...command, logFile });
  }

  async start(): Promise<void> {
    this.spawn();
    await this.untilReady();
  }

  /** Asks /readyz. This also makes kube-apiserver check the plugin if its last check is some seconds old. */
  async untilReady(): Promise<void> {
    await until('kube-apiserver is ready', () => this.#answersOk('/readyz?verbose'));
  }

  /** What kube-apiserver says of its KMS plugins; the answer may be up to 20 s old while all is well. */
  kmsHealth(): Promise<{ status: number; body: string }> {
    return this.client.text('/healthz/kms-providers');
  }

  async untilKmsHealthy(healthy: boolean, timeoutMs = 120_000): Promise<string> {
    const what = `kube-apiserver finds the plugin ${healthy ? 'healthy' : 'unhealthy'}`;
    return until(
      what,
      async () => {
        this.#daemon?.checkRunning();
        const { status, body } = await this.kmsHealth();
        return (status === 200) === healthy && body;
      },
      { timeoutMs, everyMs: 500 },
    );
  }

  /** SIGKILL by default: nothing of what is tested may depend on a clean end, and it is quicker. */
  async stop(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit | undefined> {
    return this.#daemon?.stop(signal);
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async #answersOk(path: string): Promise<boolean> {
    this.#daemon?.checkRunning();
    const { status, body } = await this.client.text(path);
    if (status === 200) return true;
    throw new Error(
      body
        .split('\n')
        .filter((line) => !line.startsWith('[+]'))
        .join('; '),
    );
  }
}
