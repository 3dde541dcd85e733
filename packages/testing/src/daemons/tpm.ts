import { rememberSecret } from '../assert/remember-secret.ts';
import { execFile } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Daemon } from './daemon.ts';
import { freePort } from './ports.ts';
import type { TokenOptions } from './softhsm.ts';
import { LIBRARIES, missing, newPin, writePin } from './token.ts';
import type { Token } from './token.ts';
import { deleteObjects, listObjects } from './token-objects.ts';
import type { TokenObject } from './token-objects.ts';
import { until } from '../assert/until.ts';

const MODULE = `${LIBRARIES}/pkcs11/libtpm2_pkcs11.so`;
const RESOURCE_MANAGER = '/usr/sbin/tpm2-abrmd';

export interface RsaKeyImport {
  /** CKA_ID, as text. */
  readonly id: string;
  readonly label: string;
  readonly privateKey: KeyObject;
}

/** Where processes find each other: a bus of our own, where the system's has other owners and other rules. */
const busConfiguration = (socket: string): string => `<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;

/**
 * A TPM 2.0 (swtpm) with its resource manager (tpm2-abrmd, on a D-Bus of its own) and a token of tpm2-pkcs11, without
 * a key. Its processes end with this one.
 */
export class Tpm implements Token {
  readonly env: Readonly<Record<string, string>>;
  readonly module = MODULE;
  readonly label: string;
  readonly pin: string;
  readonly pinFile: string;
  readonly directory: string;
  #daemons: Daemon[] = [];

  private constructor(directory: string, label: string, pin: string) {
    this.directory = directory;
    this.label = label;
    this.pin = pin;
    this.pinFile = writePin(directory, label, pin);
    this.env = {
      DBUS_SESSION_BUS_ADDRESS: `unix:path=${join(directory, 'bus')}`,
      TPM2_PKCS11_STORE: join(directory, 'store'),
      TPM2_PKCS11_TCTI: 'tabrmd:bus_type=session',
      TPM2TOOLS_TCTI: 'tabrmd:bus_type=session',
    };
  }

  /** What a test lacks for it, and how to get that; see {@link missing}. */
  static missing(): string | undefined {
    return missing([MODULE, RESOURCE_MANAGER], ['swtpm', 'dbus-daemon', 'tpm2_ptool', 'tpm2_getcap']);
  }

  /**
   * Starts a new TPM and makes a token in it, in about a second.
   *
   * @param directory - for its files and a Unix socket, so not with a long path (107 bytes); made where it is missing
   */
  static async start(directory: string, { label = 'teapot', pin = newPin() }: TokenOptions = {}): Promise<Tpm> {
    for (const name of ['state', 'store']) mkdirSync(join(directory, name), { recursive: true, mode: 0o700 });
    const tpm = new Tpm(directory, label, pin);
    await tpm.#boot();
    await tpm.#ptool('init');
    await tpm.#ptool('addtoken', '--pid', '1', '--label', label, '--userpin', pin, '--sopin', newPin());
    return tpm;
  }

  /** As when its node restarts: what was stored is there again, and nothing that was loaded or logged in. */
  async restart(): Promise<void> {
    await this.stop();
    await this.#boot();
  }

  /** Ends its processes; what was stored stays in the directory. */
  async stop(): Promise<void> {
    // As an operating system does: a TPM that merely loses its power takes that for an attack, like a wrong PIN.
    if (this.#daemons.length > 0 && this.#daemons.every(({ running }) => running)) {
      await this.#run('tpm2_shutdown', '--clear');
    }
    for (const daemon of this.#daemons.splice(0).reverse()) await daemon.stop();
  }

  /** What an administrator does after too many wrong PINs: it takes PINs again at once. */
  async clearLockout(): Promise<void> {
    await this.#run('tpm2_dictionarylockout', '--clear-lockout');
  }

  /** The TPM is gone in the middle of things, which counts as a wrong PIN; its resource manager is not. */
  async lose(): Promise<void> {
    await this.#daemons.find(({ options }) => options.name === 'swtpm')?.kill();
  }

  /** All objects that the user sees, asked for by a process of its own. */
  keys(): Promise<TokenObject[]> {
    return listObjects(this);
  }

  /** Destroys all objects with this CKA_ID, from a process of its own. */
  deleteObject(idHex: string): Promise<number> {
    return deleteObjects(this, idHex);
  }

  /** Puts an RSA key (1024, 2048 or 3072 bits) that the test knows into the TPM, so that several can have the same. */
  async importRsaKey({ id, label, privateKey }: RsaKeyImport): Promise<void> {
    rememberSecret(privateKey.export({ type: 'pkcs8', format: 'der' }));
    const file = join(this.directory, 'import.pem');
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const key = ['--privkey', file, '--algorithm', 'rsa', '--id', id, '--key-label', label];
    await this.#ptool('import', '--label', this.label, '--userpin', this.pin, ...key);
    rmSync(file);
  }

  async #boot(): Promise<void> {
    const port = await freePorts();
    const socket = join(this.directory, 'bus');
    rmSync(socket, { force: true });
    const busFile = join(this.directory, 'bus.conf');
    writeFileSync(busFile, busConfiguration(socket));
    const bus = this.#daemon('dbus-daemon', ['--nofork', `--config-file=${busFile}`]);
    const tcp = (at: number): string => `type=tcp,port=${at},bindaddr=127.0.0.1`;
    const swtpm = this.#daemon(
      'swtpm',
      `socket --tpm2 --server ${tcp(port)} --ctrl ${tcp(port + 1)} --flags not-need-init,startup-clear --tpmstate`
        .split(' ')
        .concat(`dir=${join(this.directory, 'state')}`),
    );
    await ready(bus, () => existsSync(socket));
    await ready(swtpm, () => listens(port));
    // Without a resource manager the third command fails: "out of memory for object contexts".
    const manager = this.#daemon(RESOURCE_MANAGER, [
      '--session',
      '--allow-root',
      `--tcti=swtpm:host=127.0.0.1,port=${port}`,
    ]);
    await ready(manager, async () => {
      await this.#run('tpm2_getcap', 'properties-fixed');
      return true;
    });
  }

  #daemon(command: string, args: readonly string[]): Daemon {
    const name = command.split('/').at(-1)!;
    const logFile = join(this.directory, `${name}.log`);
    const daemon = new Daemon({ name, command, args, logFile, env: this.env });
    this.#daemons.push(daemon);
    return daemon;
  }

  #ptool(command: string, ...args: readonly string[]): Promise<void> {
    return this.#run('tpm2_ptool', command, '--path', this.env['TPM2_PKCS11_STORE']!, ...args);
  }

  async #run(command: string, ...args: readonly string[]): Promise<void> {
    await promisify(execFile)(command, args, { env: { ...process.env, ...this.env } });
  }
}

function ready(daemon: Daemon, ask: () => Promise<boolean> | boolean): Promise<unknown> {
  const look = (): Promise<boolean> | boolean => {
    daemon.checkRunning();
    return ask();
  };
  return until(`${daemon.options.name} is ready`, look, { everyMs: 10 });
}

/** The first of two in a row, which is where the TCTI of swtpm looks for the TPM and for its control channel. */
async function freePorts(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (!(await listens(port + 1))) return port;
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(socket.destroy().destroyed));
    socket.once('error', () => resolve(false));
  });
}
