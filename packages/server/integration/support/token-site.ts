import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { teapot, TestSite } from './running-plugin.ts';
import type { CliResult, RunningPlugin } from './running-plugin.ts';

interface TokenInstanceOptions {
  /** The key URI; default: {@link TokenSite.uri}. */
  readonly uri?: string;
  /** More settings of `keys`, or others than usual. */
  readonly keys?: Readonly<Record<string, unknown>>;
  readonly settings?: readonly string[];
}

/** A site with a token of SoftHSM2 behind the shim. Every process that is started from now on finds it. */
export class TokenSite extends TestSite {
  readonly softHsm: SoftHsm;
  readonly shim: Shim;

  private constructor(place: TestSite, softHsm: SoftHsm) {
    super(place.directory);
    this.softHsm = softHsm;
    this.shim = Shim.over(softHsm);
    Object.assign(process.env, this.shim.env);
  }

  static async create(): Promise<TokenSite> {
    const place = new TestSite();
    return new TokenSite(place, await SoftHsm.create(place.path('token')));
  }

  uri({ module = this.shim.module, pinFile = this.shim.pinFile } = {}): string {
    return `pkcs11:token=${this.shim.label};object=kek?module-path=${module}&pin-source=file:${pinFile}`;
  }

  /** A PIN that the token will not take, in a file. */
  wrongPinFile(): string {
    const pin = randomBytes(16).toString('hex');
    rememberSecret(Buffer.from(pin));
    const file = this.path('wrong.pin');
    writeFileSync(file, pin, { mode: 0o600 });
    return file;
  }

  /** An instance with its key in the token, as part of the configuration; it is probed only when something changes. */
  tokenInstance(name: string, { uri = this.uri(), keys = {}, settings = [] }: TokenInstanceOptions = {}): string {
    const all = { uri, keyset: this.path('keyset'), stateDirectory: this.path('state'), sessions: 2, ...keys };
    const lines = [
      `name: ${name}`,
      `socket: ${this.socket(name)}`,
      'keys:',
      ...Object.entries(all).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}`),
      'probeInterval: 10m',
      ...settings,
    ];
    return `  - ${lines.join('\n    ')}\n`;
  }

  /** `teapot-kms keys COMMAND` on the token instance of this name. */
  keysCommand(command: string, ...args: string[]): CliResult {
    return teapot('keys', command, '--config', this.configFile, '--instance', 'hsm', '--output', 'json', ...args);
  }

  /** Makes a key in the token; returns its id. */
  generateInToken(): string {
    const { code, stdout, stderr } = this.keysCommand('generate');
    if (code !== 0) throw new Error(stderr);
    return (JSON.parse(stdout) as { generated: string }).generated;
  }
}

/** The processes that a plugin has started and that live: its token hosts. */
export function childrenOf({ process: { pid } }: RunningPlugin): number[] {
  const path = `/proc/${String(pid)}/task/${String(pid)}/children`;
  return readFileSync(path, 'utf8').trim().split(' ').filter(Boolean).map(Number);
}

/** Whether a process is alive. A zombie is not. */
export function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
