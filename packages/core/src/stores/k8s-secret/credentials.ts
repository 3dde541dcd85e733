import { hash } from 'node:crypto';
import { KmsError } from '../../errors.ts';
import { backOffMs } from '../../util/back-off.ts';
import type { Clock } from '../../util/clock.ts';
import type { SharedResources } from '../../util/shared-resources.ts';
import { pluginCall, runPlugin } from './kubeconfig/exec-plugin.ts';
import type { Distrust } from '../../util/trusted-path.ts';
import { exposedFiles, impersonation, readPem, staticIdentity } from './kubeconfig/identity.ts';
import type { Identity } from './kubeconfig/identity.ts';
import { loadTarget, unusable } from './kubeconfig/load.ts';
import type { Entry, KubeconfigOptions, Target } from './kubeconfig/load.ts';
import type { Cluster } from './kubeconfig/schema.ts';

/** What a request to an API server needs. */
export interface Credentials extends Identity {
  /** Changes with everything that a connection is made with. */
  readonly connectionId: string;
  readonly server: URL;
  /** The context, the file, and the server, for whoever must know where something is written. */
  readonly description: string;
  /** PEM. `undefined` where the kubeconfig names no certificate authority. */
  readonly ca: Buffer | undefined;
  readonly servername: string | undefined;
  readonly proxy: URL | undefined;
  /** `authorization` and impersonation. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** Its files that everyone can read. */
  readonly exposed: readonly Distrust[];
}

/** All files are read again after so many ms: somebody rotates them. As client-go does with token files. */
const REREAD_MS = 60_000;
/** Least ms between two readings, whatever goes wrong. */
const LEAST_MS = 1_000;
const AFTER_FAILURE = { firstMs: LEAST_MS, longestMs: 10_000 };

const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost'];

/** The credentials for one API server, kept fresh. */
export class KubeCredentials {
  readonly #options: KubeconfigOptions;
  readonly #clock: Clock;
  readonly #withheld: ReadonlySet<string>;
  readonly #report: SharedResources['report'];
  readonly #reported = new Set<string>();
  readonly #closing = new AbortController();
  #current: Credentials | undefined;
  /** Times are of the monotonic clock, in ms. */
  #readAt = -Infinity;
  #dueAt = -Infinity;
  #failures = 0;
  #error: KmsError | undefined;
  #reading: Promise<Credentials> | undefined;
  /** What an exec plugin gave for one call of it. */
  #minted: { readonly call: string; readonly identity: Identity; readonly expiresAt: number } | undefined;

  constructor(options: KubeconfigOptions, { clock, secretVariables, report }: SharedResources) {
    this.#report = report;
    this.#options = options;
    this.#clock = clock;
    this.#withheld = secretVariables;
  }

  /** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, `ERR_KMS_INVALID_URI` for what cannot be used */
  async current(): Promise<Credentials> {
    if (this.#clock.now() >= this.#dueAt) this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
    if (this.#reading) return this.#reading;
    if (!this.#current) throw this.#error!;
    return this.#current;
  }

  /** The API server refused them (401): somebody may have replaced them. */
  refused(credentials: Credentials): void {
    if (!this.#mayReread(credentials)) return;
    this.#current = undefined;
    this.#minted = undefined;
  }

  /** The API server could not be reached: the kubeconfig may name another address by now. */
  unreachable(credentials: Credentials): void {
    this.#mayReread(credentials);
  }

  /** Ends a plugin that is running. */
  close(): void {
    this.#closing.abort(new KmsError('ERR_KMS_CLOSED', 'this key store was closed'));
  }

  #mayReread(credentials: Credentials): boolean {
    const now = this.#clock.now();
    if (credentials !== this.#current || now - this.#readAt < LEAST_MS) return false;
    this.#dueAt = now;
    return true;
  }

  async #read(): Promise<Credentials> {
    try {
      this.#current = await this.#load();
      this.#failures = 0;
    } catch (error) {
      this.#failures++;
      this.#error = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
      // While a file is being replaced, what was in it is still good.
      if (this.#minted && this.#clock.now() >= this.#minted.expiresAt) this.#current = undefined;
    }
    this.#readAt = this.#clock.now();
    this.#dueAt =
      this.#failures > 0
        ? this.#readAt + backOffMs(this.#failures, AFTER_FAILURE)
        : Math.min(this.#readAt + REREAD_MS, this.#minted?.expiresAt ?? Infinity);
    if (!this.#current) throw this.#error!;
    return this.#current;
  }

  async #load(): Promise<Credentials> {
    const target = await loadTarget(this.#options, process.env);
    const { cluster, user, description } = target;
    const server = serverOf(cluster);
    const ca = await readPem(cluster, 'certificate-authority');
    const exposed = await exposedFiles(user);
    for (const one of exposed) this.#warn(one);
    const fixed = await staticIdentity(user);
    if (fixed) this.#minted = undefined;
    const identity = fixed ?? (await this.#mint(target, ca));
    const servername = cluster.value['tls-server-name'];
    const proxy = proxyOf(cluster);
    const parts = [server.href, ca, identity.cert, identity.key, servername, proxy?.href];
    return {
      ...identity,
      connectionId: hash('sha256', JSON.stringify(parts.map((part) => part?.toString()))),
      server,
      description: `${server.origin}, ${description}`,
      ca,
      servername,
      proxy,
      exposed,
      headers: {
        ...impersonation(user),
        ...(identity.token !== undefined && { authorization: `Bearer ${identity.token}` }),
      },
    };
  }

  /** Once for each file. */
  #warn({ text, remedy }: Distrust): void {
    if (this.#reported.has(text)) return;
    this.#reported.add(text);
    this.#report({ type: 'secret-exposed', text, remedy });
  }

  /** Runs the exec plugin, unless what it gave for the same call has not expired. */
  async #mint({ user, cluster }: Target, ca: Buffer | undefined): Promise<Identity> {
    const call = pluginCall(user, user.value.exec!, cluster.value, ca);
    const key = JSON.stringify(call);
    if (this.#minted?.call === key && this.#clock.now() < this.#minted.expiresAt) return this.#minted.identity;
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !this.#withheld.has(name)));
    const identity = await runPlugin(call, { clock: this.#clock, env, signal: this.#closing.signal });
    const { expiresAt = Infinity } = identity;
    // Never at once: clocks differ.
    const expiresIn = Math.max(LEAST_MS, expiresAt - this.#clock.wall());
    this.#minted = { call: key, identity, expiresAt: this.#clock.now() + expiresIn };
    return identity;
  }
}

/** Only an API server that proves who it is may hand us keys. */
function serverOf({ value, where }: Entry<Cluster>): URL {
  const server = URL.parse(value.server ?? '');
  const plain = server?.protocol === 'http:' && LOOPBACK.includes(server.hostname);
  if (!server || (server.protocol !== 'https:' && !plain)) {
    throw unusable(`${where}: expected a server such as https://10.0.0.1:6443, found one that is not https`);
  }
  if (value['insecure-skip-tls-verify'] && !plain) {
    const why = 'whoever answers could hand out keys that are theirs';
    throw unusable(`${where}: insecure-skip-tls-verify is refused: ${why}`, 'set certificate-authority-data instead');
  }
  // They would be in errors.
  const { username, password, search, hash } = server;
  const parts = { 'a user': username, 'a password': password, 'a query': search, 'a fragment': hash };
  for (const [part, found] of Object.entries(parts)) {
    if (found !== '') throw unusable(`${where}: expected a server without ${part}, found one`);
  }
  return server;
}

function proxyOf({ value, where }: Entry<Cluster>): URL | undefined {
  if (value['proxy-url'] === undefined) return undefined;
  const proxy = URL.parse(value['proxy-url']);
  if (proxy?.protocol === 'http:' || proxy?.protocol === 'https:') return proxy;
  throw unusable(`${where}: expected a proxy-url of http or https, found another`);
}
