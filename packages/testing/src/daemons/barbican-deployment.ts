import { execFile } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { rememberSecret } from '../assert/remember-secret.ts';
import { until } from '../assert/until.ts';
import { Authority } from './authority.ts';
import { MARIADB, SOURCE, sourceHash, venv } from './barbican-programs.ts';
import { Daemon } from './daemon.ts';
import { freePort } from './ports.ts';

const run = promisify(execFile);
const SOFTHSM = '/usr/lib/softhsm/libsofthsm2.so';
/** Of a token that only tests have, and whose copies are saved. */
const PIN = '73194628';

/** The processes of a node. Each one starts without the others. */
const PARTS = ['mariadb', 'keystone', 'barbican'] as const;
export type Part = (typeof PARTS)[number];

export interface DeploymentOptions {
  /** Barbican's crypto plugin: a master key in a file, or in SoftHSM2. */
  readonly crypto?: 'simple' | 'p11';
  /** Processes that answer for Keystone and for Barbican, each. The default of `k8s/barbican` is 2. */
  readonly workers?: number;
}

/** What `k8s/barbican` deploys, with its own configuration and tool, as processes below one directory. */
export class BarbicanDeployment {
  readonly root: string;
  readonly keystoneUrl: string;
  readonly barbicanUrl: string;
  readonly #ports: Readonly<Record<'keystone' | 'barbican', number>>;
  readonly #workers: number;
  readonly #parts = new Map<Part, Daemon>();
  #authority: Authority | undefined;

  private constructor(root: string, ports: Readonly<Record<'keystone' | 'barbican', number>>, workers: number) {
    this.root = root;
    this.#ports = ports;
    this.#workers = workers;
    this.keystoneUrl = `https://127.0.0.1:${ports.keystone}`;
    this.barbicanUrl = `https://127.0.0.1:${ports.barbican}`;
  }

  /** Follows the guide's steps, all but those that a saved copy of an earlier set-up makes unnecessary. */
  static async start({ crypto = 'simple', workers = 2 }: DeploymentOptions = {}): Promise<BarbicanDeployment> {
    const root = mkdtempSync(join(tmpdir(), 'teapot-bd-'));
    const ports = { keystone: await freePort(), barbican: await freePort() };
    const deployment = new BarbicanDeployment(root, ports, workers);
    const template = `${venv()}-${crypto}-${sourceHash()}`;
    const prepared = existsSync(template);
    if (prepared) cpSync(template, root, { recursive: true });
    deployment.renewCertificate();
    if (!prepared && crypto === 'p11') deployment.#makePin();
    await deployment.#init(crypto);
    deployment.#startMariadb();
    if (!prepared) await deployment.#makeDatabase(template);
    await deployment.startServers();
    await deployment.tool('services');
    return deployment;
  }

  get etc(): string {
    return join(this.root, 'etc/teapot-barbican');
  }

  get ca(): string {
    return join(this.etc, 'tls/ca.crt');
  }

  conf(tenant: string, kind: 'node' | 'operator'): string {
    return join(this.etc, 'tenants', tenant, `${kind}.conf`);
  }

  /** Runs `teapot-barbican`. @returns its output */
  async tool(...args: readonly string[]): Promise<string> {
    const command = [join(SOURCE, 'tool'), '--root', this.root, ...args];
    const { stdout } = await run(join(venv(), 'bin/python'), command, { env: this.#environment() });
    return stdout;
  }

  /** Keystone and Barbican, which may be started before their database. */
  async startServers(): Promise<void> {
    this.startPart('keystone');
    this.startPart('barbican');
    await this.untilAnswering();
  }

  startPart(part: Part): void {
    if (part === 'mariadb') this.#startMariadb();
    else this.#startServer(part);
  }

  /** Waits until both answer. */
  async untilAnswering(): Promise<void> {
    for (const [part, url] of [
      ['keystone', `${this.keystoneUrl}/v3`],
      ['barbican', `${this.barbicanUrl}/`],
    ] as const) {
      await until(`${part} answers`, async () => {
        this.#parts.get(part)!.checkRunning();
        const answer = await run('curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', '--cacert', this.ca, url]);
        return Number(answer.stdout) < 500;
      });
    }
  }

  /** SIGKILL to every process, servers' workers too. */
  async kill(...parts: readonly Part[]): Promise<void> {
    for (const part of parts.length === 0 ? PARTS : parts) {
      const daemon = this.#parts.get(part);
      const workers = daemon?.running === true ? childrenOf(daemon.pid!) : [];
      await daemon?.kill();
      for (const pid of workers) killIfThere(pid);
    }
  }

  /** Makes a server read its configuration again, as an operator does: new workers, then no old ones. */
  async reload(part: 'keystone' | 'barbican'): Promise<void> {
    const { pid } = this.#parts.get(part)!;
    const old = childrenOf(pid!);
    process.kill(pid!, 'SIGHUP');
    await until(`${part} has new workers only`, () => {
      const now = childrenOf(pid!);
      return now.length === this.#workers && now.every((child) => !old.includes(child));
    });
  }

  /** RSS of a part and its workers, in bytes. */
  memory(part: Part): number {
    const { pid } = this.#parts.get(part)!;
    const rss = (one: number) => /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${one}/smaps_rollup`, 'utf8'))?.[1];
    return [pid!, ...childrenOf(pid!)].reduce((sum, one) => sum + Number(rss(one) ?? 0) * 1024, 0);
  }

  /** Everything below `root` that may not be in a log. */
  #rememberSecrets(): void {
    const secrets = join(this.etc, 'secrets');
    for (const entry of readdirSync(secrets, { withFileTypes: true, recursive: true })) {
      if (entry.isFile()) rememberSecret(Buffer.from(readFileSync(join(entry.parentPath, entry.name), 'utf8').trim()));
    }
  }

  async stop(): Promise<void> {
    for (const part of ['barbican', 'keystone', 'mariadb'] as const) await this.#parts.get(part)?.stop('SIGTERM');
    this.#keepLogs();
    rmSync(this.root, { recursive: true, force: true });
  }

  /** Of the same authority, for the loopback address: each node asks itself. */
  renewCertificate(): void {
    this.#authority ??= new Authority(join(this.root, 'authority'));
    const { caFile } = this.#authority;
    const { certFile, keyFile } = this.#authority.issue();
    const tls = join(this.etc, 'tls');
    mkdirSync(tls, { recursive: true, mode: 0o700 });
    copyFileSync(caFile, join(tls, 'ca.crt'));
    copyFileSync(certFile, join(tls, 'tls.crt'));
    copyFileSync(keyFile, join(tls, 'tls.key'));
  }

  #makePin(): void {
    mkdirSync(join(this.root, 'softhsm'), { mode: 0o700 });
    mkdirSync(join(this.etc, 'secrets'), { mode: 0o700 });
    writeFileSync(join(this.etc, 'secrets/pin'), `${PIN}\n`, { mode: 0o600 });
  }

  /** For the search of all logs for secrets. Not Keystone's: it logs each token that it refuses. */
  #keepLogs(): void {
    const logs = process.env['TEAPOT_TEST_LOG_DIR'];
    if (logs === undefined) return;
    this.#rememberSecrets();
    mkdirSync(logs, { recursive: true });
    for (const part of ['barbican', 'mariadb'] as const) {
      copyFileSync(join(this.root, `${part}.log`), join(logs, `${basename(this.root)}-${part}.log`));
    }
  }

  async #init(crypto: 'simple' | 'p11'): Promise<void> {
    const conf = `directories.tokendir = ${join(this.root, 'softhsm')}\nobjectstore.backend = file\nlog.level = ERROR\n`;
    writeFileSync(join(this.root, 'softhsm2.conf'), conf);
    const { keystone, barbican } = this.#ports;
    const ports = ['--keystone-port', String(keystone), '--barbican-port', String(barbican)];
    await this.tool('init', ...ports, '--crypto', crypto, '--library', SOFTHSM);
    if (crypto === 'simple' || readdirSync(join(this.root, 'softhsm')).length > 0) return;
    const pins = ['--pin', PIN, '--so-pin', PIN];
    const token = ['--init-token', '--free', '--label', 'barbican', ...pins];
    await run('/usr/bin/softhsm2-util', token, { env: this.#environment() });
  }

  /** Makes the tables, and saves a copy of all files. */
  async #makeDatabase(template: string): Promise<void> {
    await until('the database has its socket', () => existsSync(join(this.root, 'run/teapot-barbican/mariadb.sock')));
    await this.tool('database');
    await this.#parts.get('mariadb')!.stop();
    const copy = mkdtempSync(`${template}.`);
    for (const name of SAVED) {
      const from = join(this.root, name);
      if (existsSync(from)) cpSync(from, join(copy, name), { recursive: true });
    }
    try {
      renameSync(copy, template);
    } catch {
      // Another process was faster.
      rmSync(copy, { recursive: true });
    }
    this.#startMariadb();
  }

  #startMariadb(): void {
    const data = join(this.root, 'var/lib/teapot-barbican/mysql');
    const args = [join(SOURCE, 'config/mariadb-start.sh'), join(this.etc, 'mariadb.cnf'), data];
    if (process.getuid?.() === 0) args.push('--user=root');
    const libraries = join(MARIADB, 'usr/lib', `${process.arch === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`);
    const env = { MARIADB_BASE: join(MARIADB, 'usr'), LD_LIBRARY_PATH: libraries };
    this.#spawn('mariadb', 'sh', args, env);
  }

  #startServer(part: 'keystone' | 'barbican'): void {
    const config = ['--config', join(SOURCE, 'web/gunicorn.conf.py'), '--workers', String(this.#workers)];
    const where = ['--bind', `127.0.0.1:${this.#ports[part]}`];
    const args = [...config, ...where, `${part}_app:application`];
    this.#spawn(part, join(venv(), 'bin/gunicorn'), args, this.#environment());
  }

  #spawn(part: Part, command: string, args: readonly string[], env: Readonly<Record<string, string>>): void {
    const options = { name: part, command, args, logFile: join(this.root, `${part}.log`), env };
    this.#parts.set(part, new Daemon(options));
  }

  #environment(): Record<string, string> {
    return {
      PATH: process.env['PATH'] ?? '',
      HOME: join(this.root, 'home'),
      PYTHONDONTWRITEBYTECODE: '1',
      NO_PROXY: '*',
      TEAPOT_BARBICAN_ROOT: this.root,
      OS_KEYSTONE_CONFIG_FILES: `${join(SOURCE, 'config/keystone.conf')};${join(this.etc, 'keystone.conf.d/site.conf')}`,
      SOFTHSM2_CONF: join(this.root, 'softhsm2.conf'),
    };
  }
}

/** What a set-up leaves that another one can use; `init` writes the rest again. */
const SAVED = ['etc/teapot-barbican/secrets', 'etc/teapot-barbican/barbican.conf.d', 'var', 'softhsm'];

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended with its master.
  }
}
