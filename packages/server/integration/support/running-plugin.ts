import { promoteKey, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { rememberSecret } from '@teapot-kms/testing';
import { launcher } from '@teapot-kms/testing/daemons';
import { KmsClient } from '../../src/client/client.ts';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `teapot-kms` with `args` to its end. */
export function teapot(...args: string[]): CliResult {
  const { status, stdout, stderr } = spawnSync(launcher(), args, { encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

/** A directory of its own for a test: keysets, configuration, sockets. Removed by {@link TestSite.remove}. */
export class TestSite {
  readonly directory: string;
  readonly configFile: string;
  readonly #processes: RunningPlugin[] = [];

  constructor(directory = mkdtempSync(join(tmpdir(), 'teapot-'))) {
    this.directory = directory;
    this.configFile = join(directory, 'config.yaml');
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  keys(name: string): string {
    return `file:${this.path('keys', name)}`;
  }

  socket(name: string): string {
    return this.path('run', name, 'kms.sock');
  }

  /** Makes a key and returns its id; the test's log search learns its bytes. */
  generate(name: string): string {
    const { code, stdout, stderr } = teapot(
      'keys',
      'generate',
      '--uri',
      this.keys(name),
      '--create-parents',
      '--output',
      'json',
    );
    if (code !== 0) throw new Error(stderr);
    const id = (JSON.parse(stdout) as { generated: string }).generated;
    rememberSecret(readFileSync(this.path('keys', name, `${id}.key`)));
    return id;
  }

  promote(name: string, keyId: string): void {
    const { code, stderr } = teapot('keys', 'promote', '--uri', this.keys(name), keyId, '--unverified');
    if (code !== 0) throw new Error(stderr);
  }

  /** The same without a process of its own, for a test that has no time to lose. */
  async promoteAtOnce(name: string, keyId: string): Promise<void> {
    const uri = this.keys(name);
    const source = providerFor(uri).open(uri, {}, new SharedResources()) as KeysetSource;
    await promoteKey(source.admin!, keyId);
    await source.close?.();
  }

  /** An instance's part of the configuration, with more settings as YAML lines. */
  instance(name: string, ...settings: string[]): string {
    const lines = [
      `name: ${name}`,
      `socket: ${this.socket(name)}`,
      `keys: { uri: "${this.keys(name)}" }`,
      'probeInterval: 500ms',
      ...settings,
    ];
    return `  - ${lines.join('\n    ')}\n`;
  }

  writeConfig(instances: readonly string[], head = 'http: false\nshutdownGrace: 3s\n'): void {
    writeFileSync(
      this.configFile,
      `version: 1\nlog: { level: debug }\nstateDirectory: ${join(this.directory, 'state')}\n${head}instances:\n${instances.join('')}`,
    );
  }

  /**
   * Starts `serve`. With `until` it waits for that log line. By default it waits until the plugin listens, and each instance with a
   * keyset in {@link TestSite.keys} has loaded or refused it: calls wait only two seconds for them, which may be too little on a busy machine.
   */
  async serve(args: readonly string[] = [], until?: string): Promise<RunningPlugin> {
    const plugin = new RunningPlugin(['serve', '--config', this.configFile, ...args]);
    this.#processes.push(plugin);
    await plugin.logged(until ?? 'listening');
    if (until === undefined) await eventually(() => this.#assertLoaded(plugin));
    return plugin;
  }

  #assertLoaded({ log }: RunningPlugin): void {
    const lines = log.split('\n');
    const named = [...readFileSync(this.configFile, 'utf8').matchAll(/^ +- name: (\S+)$/gm)].map(([, name]) => name!);
    const missing = named
      .filter((name) => existsSync(this.path('keys', name, 'keyset.yaml')))
      .filter(
        (name) =>
          !lines.some((line) => /key loaded|key store failed|No key is loaded/.test(line) && line.includes(name)),
      );
    if (missing.length > 0) throw new Error(`no keyset loaded or refused: ${missing.join(', ')}\n${log}`);
  }

  /** Ends all plugins as an init system does. */
  async stopAll(): Promise<void> {
    await Promise.all(this.#processes.splice(0).map((plugin) => plugin.kill('SIGTERM')));
  }

  async remove(): Promise<void> {
    await Promise.all(this.#processes.map((plugin) => plugin.kill('SIGKILL')));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A `teapot-kms serve` process and what it logs. */
export class RunningPlugin {
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
  log = '';

  constructor(args: readonly string[]) {
    this.process = spawn(launcher(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr?.on('data', (chunk: Buffer) => {
      this.log += chunk.toString();
      const directory = process.env['TEAPOT_TEST_LOG_DIR'];
      if (directory !== undefined) appendFileSync(join(directory, `plugin-${process.pid}.log`), chunk);
    });
    this.exited = new Promise((resolve) => this.process.once('close', resolve));
  }

  /** Waits until `text` is in the log. */
  async logged(text: string): Promise<void> {
    await eventually(() => {
      if (!this.log.includes(text)) throw new Error(`not logged: ${text}\n${this.log}`);
    });
  }

  /** Sends a signal and waits for the end; returns the exit code. */
  async kill(signal: NodeJS.Signals): Promise<number | null> {
    this.process.kill(signal);
    return this.exited;
  }
}

/** Tries until `check` passes, for a minute at most. */
export async function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(25);
    }
  }
}

/** No call fails because the machine is slow. */
const CALL_TIMEOUT_MS = 60_000;

/** Runs `use` with a client of its own. */
export async function withClient<T>(socket: string, use: (client: KmsClient) => Promise<T>): Promise<T> {
  const client = new KmsClient(socket, CALL_TIMEOUT_MS);
  try {
    return await use(client);
  } finally {
    client.close();
  }
}

/** Names in a socket's directory, to see that nothing temporary is left. */
export function namesBeside(socket: string): string[] {
  return readdirSync(join(socket, '..')).sort();
}
