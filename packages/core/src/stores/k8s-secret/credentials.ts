import type { KubeConfig } from '@kubernetes/client-node';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { KmsError } from '../../errors.ts';

export interface CredentialsOptions {
  /** A kubeconfig; without one, what kubectl would take: `KUBECONFIG`, `~/.kube/config`, the pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** A context of it; its current one where none is named. */
  readonly context?: string | undefined;
}

/** What a request to an API server needs. */
export interface Credentials {
  /** Changes with all that a connection is made with. */
  readonly identity: string;
  readonly server: URL;
  /** PEM. Undefined where the kubeconfig names no certificate authority. */
  readonly ca: Buffer | undefined;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly servername: string | undefined;
  /** `Authorization` and impersonation. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Files that somebody rotates (tokens of service accounts, client certificates) are read again after so many ms. */
const REREAD_MS = 60_000;
/** ms between two rereads because of refusals. */
const REFUSED_MS = 1_000;

const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost'];

/** Credentials for an API server, kept fresh. All that a kubeconfig may say is @kubernetes/client-node's to understand. */
export class KubeCredentials {
  readonly #options: CredentialsOptions;
  #config: KubeConfig | undefined;
  #current: Credentials | undefined;
  #readAt = -Infinity;
  #reading: Promise<Credentials> | undefined;

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_INVALID_URI` for what we refuse to use */
  async current(): Promise<Credentials> {
    if (this.#current && performance.now() - this.#readAt < REREAD_MS) return this.#current;
    this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  /** The API server did not accept them (401): they are read anew, since somebody may have rotated them meanwhile. */
  refused(credentials: Credentials): void {
    if (credentials !== this.#current || performance.now() - this.#readAt < REFUSED_MS) return;
    this.#current = undefined;
    this.#config = undefined;
  }

  async #read(): Promise<Credentials> {
    const before = this.#current;
    try {
      this.#current = await this.#load();
    } catch (error) {
      // A file that is being replaced.
      if (!before) throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
      this.#current = before;
    }
    this.#readAt = performance.now();
    return this.#current;
  }

  async #load(): Promise<Credentials> {
    // An exec plugin's credential says itself how long it lasts; loading anew would run the plugin again.
    if (!this.#config?.getCurrentUser()?.exec) this.#config = await loadKubeConfig(this.#options);
    const cluster = this.#config.getCurrentCluster();
    if (!cluster || !this.#config.getCurrentUser()) {
      const context = this.#config.getCurrentContext();
      throw unusable(`context ${JSON.stringify(context)} is not there, or lacks its cluster or user`);
    }
    const server = new URL(cluster.server);
    const plain = server.protocol === 'http:' && LOOPBACK.includes(server.hostname);
    if (server.protocol !== 'https:' && !plain) throw unusable(`${server.origin} is not https`);
    if (cluster.skipTLSVerify && !plain) {
      throw unusable('insecure-skip-tls-verify: whoever answered could hand us a key that is theirs');
    }
    if (cluster.proxyUrl) throw unusable('proxy-url is not supported');
    const options: RequestOptions = {};
    await this.#config.applyToHTTPSOptions(options);
    const [ca, cert, key] = [bytesOf(options.ca), bytesOf(options.cert), bytesOf(options.key)];
    return {
      identity: identityOf(server, [ca, cert, key]),
      server,
      ca,
      cert,
      key,
      servername: options.servername,
      headers: { ...(options.headers as Record<string, string> | undefined) },
    };
  }
}

/** It is big (80 MB of memory), so only who uses it loads it. */
async function loadKubeConfig({ kubeconfig, context }: CredentialsOptions): Promise<KubeConfig> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else {
    config.loadFromFile(kubeconfig);
    useTokenFiles(config, kubeconfig);
  }
  if (context !== undefined) config.setCurrentContext(context);
  return config;
}

/** `tokenFile` of a user (client-go's clientcmd/api/v1), which client-node 2.0 does not know. */
function useTokenFiles(config: KubeConfig, kubeconfig: string): void {
  const { users } = parse(readFileSync(kubeconfig, 'utf8')) as {
    users?: { name: string; user?: { tokenFile?: string } }[];
  };
  config.users = config.users.map((user) => {
    const tokenFile = users?.find(({ name }) => name === user.name)?.user?.tokenFile;
    if (tokenFile === undefined) return user;
    const file = resolve(dirname(kubeconfig), tokenFile);
    return { ...user, authProvider: { name: 'tokenFile', config: { tokenFile: file } } };
  });
}

function identityOf(server: URL, parts: readonly (Buffer | undefined)[]): string {
  const hash = createHash('sha256').update(server.href);
  for (const part of parts) hash.update(`;${part?.length ?? 0};`).update(part ?? '');
  return hash.digest('hex');
}

function bytesOf(pem: unknown): Buffer | undefined {
  if (pem === undefined || pem === null) return undefined;
  return Buffer.isBuffer(pem) ? pem : Buffer.from(pem as string);
}

function unusable(why: string): KmsError {
  return new KmsError('ERR_KMS_INVALID_URI', `the kubeconfig cannot be used: ${why}`);
}
