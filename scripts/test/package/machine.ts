import { Daemon } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { execFileSync, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Result {
  readonly code: number | null;
  /** Of stdout and stderr. */
  readonly output: string;
}

/** A Debian with a running systemd; see `machine.sh`. */
export class Machine {
  readonly #daemon: Daemon;
  readonly #name: string;
  readonly #scratch: string;
  readonly #systemd: number;

  private constructor(daemon: Daemon, name: string, scratch: string, systemd: number) {
    this.#daemon = daemon;
    this.#name = name;
    this.#scratch = scratch;
    this.#systemd = systemd;
  }

  /** @returns why this host cannot run one */
  static missing(): string | undefined {
    if (process.getuid?.() !== 0) return 'run the tests as root';
    return spawnSync('unshare', ['--mount', '--pid', '--fork', 'true']).status === 0 ? undefined : 'allow unshare(2)';
  }

  static async boot(): Promise<Machine> {
    const root = execFileSync('bash', [join(import.meta.dirname, 'debian-root.sh')], { encoding: 'utf8' }).trim();
    const scratch = mkdtempSync(join(tmpdir(), 'teapot-machine-'));
    const name = `teapot-${String(process.pid)}`;
    const args = [join(import.meta.dirname, 'machine.sh'), name, root, scratch];
    const daemon = new Daemon({ name: 'machine', command: 'bash', args, logFile: `${scratch}.log` });
    const systemd = await until('systemd runs', () => {
      daemon.checkRunning();
      return children(daemon.pid).find((pid) => readlinkSync(`/proc/${String(pid)}/exe`).endsWith('/systemd/systemd'));
    });
    const machine = new Machine(daemon, name, scratch, systemd);
    await until('it has booted', () => machine.run('systemctl is-system-running').output.startsWith('running'));
    return machine;
  }

  /** Runs a line of shell on the machine. */
  run(line: string): Result {
    const { status, stdout, stderr } = spawnSync('nsenter', this.#enter(line), { encoding: 'utf8', timeout: 240_000 });
    return { code: status, output: stdout + stderr };
  }

  /** Runs a line of shell that must succeed. */
  succeed(line: string): string {
    const { code, output } = this.run(line);
    if (code !== 0)
      throw new Error(
        `${line}\nexit code ${String(code)}\n${output}\n${this.run('journalctl -n 30 --no-pager').output}`,
      );
    return output.trim();
  }

  /** Puts a file of the host into `/tmp` of the machine. */
  upload(file: string, name: string): void {
    execFileSync('nsenter', this.#enter(`cat > /tmp/${name}`), { input: readFileSync(file) });
  }

  #enter(line: string): string[] {
    const shell = ['env', '-i', '-C', '/', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin', 'sh', '-c', line];
    return ['-t', String(this.#systemd), '-a', '-r', '--', ...shell];
  }

  async stop(): Promise<void> {
    await this.#daemon.kill();
    rmSync(this.#scratch, { recursive: true, force: true });
    rmSync(`${this.#scratch}.log`, { force: true });
    const cgroups = { cwd: '/sys/fs/cgroup' };
    const remove = (): true => {
      const groups = globSync([`systemd/${this.#name}/**/`, `${this.#name}/**/`], cgroups);
      // The deepest ones first.
      for (const group of groups.sort().reverse()) rmdirSync(join(cgroups.cwd, group));
      return true;
    };
    await until('all its processes have ended', remove);
  }
}

const children = (pid: number | undefined): number[] =>
  readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'latin1')
    .split(' ')
    .filter(Boolean)
    .map(Number);
