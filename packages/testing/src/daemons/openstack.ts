import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Daemon } from './daemon.ts';
import { KeystoneAdmin } from './keystone-admin.ts';
import { freePort } from './ports.ts';
import { until } from '../assert/until.ts';

export interface OpenStackOptions {
  /** How Barbican encrypts what it stores: `simple_crypto`, or its own PKCS#11 plugin over SoftHSM2. */
  readonly crypto?: 'simple' | 'p11';
  /** Seconds that a Keystone token lives. */
  readonly tokenTtl?: number;
  /** Seconds for which Barbican trusts a token that it has checked (OpenStack's default is 300); -1: it asks each time. */
  readonly tokenCache?: number;
  /** Processes that answer for Barbican; more than one only where nothing is written at the same time. 1 where absent. */
  readonly barbicanWorkers?: number;
}

/** What `provision.py` has made. Users `kms` (creator), `observer`, `audit` in project `kms`; `other` in project `other`. */
export interface OpenStackState {
  readonly passwords: Readonly<Record<'kms' | 'observer' | 'audit' | 'other' | 'barbican', string>>;
  readonly users: Readonly<Record<'kms' | 'observer' | 'audit' | 'other' | 'barbican', string>>;
  readonly projects: Readonly<Record<'kms' | 'service' | 'other', string>>;
  readonly roles: Readonly<Record<'creator' | 'observer' | 'audit' | 'service', string>>;
  /** Of user `kms`, with the role `creator` on project `kms`. */
  readonly application_credential: { readonly id: string; readonly secret: string };
}

const SCRIPTS = join(import.meta.dirname, '../../openstack');

/** Why OpenStack cannot be started here, or `undefined`. */
export function missingOpenStack(): string | undefined {
  const needed = ['/usr/bin/gunicorn', '/usr/bin/keystone-manage', '/usr/lib/python3/dist-packages/barbican'];
  const missing = needed.find((path) => !existsSync(path));
  return missing === undefined ? undefined : `no ${missing}: bash packages/testing/openstack/setup.sh`;
}

/** Real Keystone and real Barbican, each a process of its own, all of it in one directory. */
export class OpenStack {
  readonly directory: string;
  readonly state: OpenStackState;
  /** To change things behind the plugin's back, as a cloud's operator can. */
  readonly admin: KeystoneAdmin;
  readonly keystoneUrl: string;
  readonly barbicanUrl: string;
  readonly #ports: { readonly keystone: number; readonly barbican: number };
  readonly #barbicanWorkers: number;
  #keystone: Daemon;
  #barbican: Daemon;

  private constructor(
    directory: string,
    ports: { readonly keystone: number; readonly barbican: number },
    parts: { readonly keystone: Daemon; readonly barbican: Daemon; readonly state: OpenStackState },
    barbicanWorkers: number,
  ) {
    this.directory = directory;
    this.#ports = ports;
    this.#barbicanWorkers = barbicanWorkers;
    this.keystoneUrl = `http://127.0.0.1:${ports.keystone}`;
    this.barbicanUrl = `http://127.0.0.1:${ports.barbican}`;
    this.state = parts.state;
    this.#keystone = parts.keystone;
    this.#barbican = parts.barbican;
    this.admin = new KeystoneAdmin(this.keystoneUrl, this.barbicanUrl, secretOf(directory, 'keystone/admin.password'));
  }

  /** Takes 5 s or so, the first time on a machine 15. @param directory - is made; keep it short, it goes into many paths */
  static async start(directory: string, options: OpenStackOptions = {}): Promise<OpenStack> {
    const { crypto = 'simple', tokenTtl = 3600, tokenCache = -1, barbicanWorkers = 1 } = options;
    const ports = { keystone: await freePort(), barbican: await freePort() };
    const [keystoneUrl, barbicanUrl] = [`http://127.0.0.1:${ports.keystone}`, `http://127.0.0.1:${ports.barbican}`];
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const settings = { CRYPTO: crypto, TOKEN_TTL: String(tokenTtl), TOKEN_CACHE: String(tokenCache) };
    const run = (command: string, script: string, ...args: readonly string[]) =>
      promisify(execFile)(command, [join(SCRIPTS, script), ...args], { env: { ...process.env, ...settings } });
    await run('bash', 'prepare.sh', directory, String(ports.keystone), String(ports.barbican));
    const keystone = spawnService(directory, 'keystone', ports.keystone);
    const barbican = spawnService(directory, 'barbican', ports.barbican, barbicanWorkers);
    await untilAnswering(keystone, `${keystoneUrl}/v3`);
    const stateFile = join(directory, 'state.json');
    const made = existsSync(stateFile);
    const passwords = [join(directory, 'keystone/admin.password'), join(directory, 'barbican/service.password')];
    if (!made) await run('/usr/bin/python3', 'provision.py', keystoneUrl, barbicanUrl, ...passwords, stateFile);
    await untilAnswering(barbican, `${barbicanUrl}/`);
    if (!made) await run('bash', 'template.sh', 'save', directory, keystoneUrl, barbicanUrl);
    const state = JSON.parse(readFileSync(stateFile, 'utf8')) as OpenStackState;
    return new OpenStack(directory, ports, { keystone, barbican, state }, barbicanWorkers);
  }

  get barbicanLog(): string {
    return join(this.directory, 'barbican.log');
  }

  get barbicanDatabase(): string {
    return join(this.directory, 'barbican/barbican.db');
  }

  async stopKeystone(): Promise<void> {
    await this.#keystone.stop('SIGINT');
  }

  async startKeystone(): Promise<void> {
    this.#keystone = spawnService(this.directory, 'keystone', this.#ports.keystone);
    await untilAnswering(this.#keystone, `${this.keystoneUrl}/v3`);
  }

  async stopBarbican(): Promise<void> {
    await this.#barbican.stop('SIGINT');
  }

  async startBarbican(): Promise<void> {
    this.#barbican = spawnService(this.directory, 'barbican', this.#ports.barbican, this.#barbicanWorkers);
    await untilAnswering(this.#barbican, `${this.barbicanUrl}/`);
  }

  /** Ends both. The directory stays. */
  async stop(): Promise<void> {
    await Promise.all([this.stopKeystone(), this.stopBarbican()]);
  }
}

/**
 * Workers with one thread; usually one, as SQLite answers parallel writes "database is locked". A worker of gunicorn ends by
 * itself when its master is gone.
 */
function spawnService(directory: string, name: 'keystone' | 'barbican', port: number, workers = 1): Daemon {
  const env = [
    `HOME=${join(directory, 'home')}`,
    'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
    'PYTHONDONTWRITEBYTECODE=1',
    'NO_PROXY=*',
    'no_proxy=*',
    `OS_KEYSTONE_CONFIG_FILES=${join(directory, 'keystone/keystone.conf')}`,
    `BARBICAN_PASTE=${join(directory, 'barbican/api-paste.ini')}`,
    `SOFTHSM2_CONF=${join(directory, 'softhsm/softhsm2.conf')}`,
  ];
  const gunicorn = ['--bind', `127.0.0.1:${port}`, '--worker-class', 'gthread', '--threads', '1'];
  gunicorn.push('--workers', String(workers));
  // Else one of them may take all the connections that are kept alive, and the others have nothing to do.
  if (workers > 1) gunicorn.push('--worker-connections', '12');
  const limits = ['--keep-alive', '75', '--graceful-timeout', '2', '--timeout', '120', '--worker-tmp-dir', directory];
  const application = ['--pythonpath', join(directory, name), `wsgi_${name}:application`];
  return new Daemon({
    name,
    command: '/usr/bin/env',
    args: ['-i', ...env, '/usr/bin/gunicorn', ...gunicorn, ...limits, ...application],
    logFile: join(directory, `${name}.log`),
  });
}

async function untilAnswering(daemon: Daemon, url: string): Promise<void> {
  await until(`${daemon.options.name} answers`, async () => {
    daemon.checkRunning();
    return (await fetch(url, { signal: AbortSignal.timeout(5_000) })).status < 500;
  });
}

function secretOf(directory: string, path: string): string {
  return readFileSync(join(directory, path), 'utf8').trim();
}
