import {
  BarbicanClient,
  barbicanProvider,
  CloudConfiguration,
  cloudSettings,
  KeystoneSession,
} from '@teapot-kms/core/internal';
import { SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { HttpProxy } from './http-proxy.ts';
import { missingOpenStack, OpenStack } from './openstack.ts';
import type { OpenStackOptions } from './openstack.ts';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { rememberSecret } from '../assert/remember-secret.ts';
import { ForwardClock } from '../fakes/forward-clock.ts';

export const patient = () => ({ signal: AbortSignal.timeout(60_000) });

/** Says so, and ends the file, where OpenStack is not installed. */
export function skipWithoutOpenStack(): void {
  const missing = missingOpenStack();
  if (missing === undefined) return;
  console.log(`SKIPPED tests on real Keystone and Barbican: ${missing}`);
  process.exit(0);
}

/** Real Keystone and Barbican, each behind a proxy that counts and does harm, and a directory for keysets and credentials. */
export class TestCloud {
  readonly directory: string;
  readonly openStack: OpenStack;
  readonly keystone: HttpProxy;
  readonly barbican: HttpProxy;
  /** The clock of all sources and sessions. */
  readonly clock = new ForwardClock();
  /** For sources that need no login of their own. */
  readonly shared = this.newShared();
  readonly sharedConf: string;
  #made = 0;
  #session: KeystoneSession | undefined;

  private constructor(directory: string, openStack: OpenStack, keystone: HttpProxy, barbican: HttpProxy) {
    this.directory = directory;
    this.openStack = openStack;
    this.keystone = keystone;
    this.barbican = barbican;
    this.sharedConf = this.cloudConf();
  }

  static async start(options: OpenStackOptions = {}): Promise<TestCloud> {
    const directory = mkdtempSync(join(tmpdir(), 'teapot-os-'));
    const openStack = await OpenStack.start(join(directory, 'cloud'), options);
    for (const secret of [...Object.values(openStack.state.passwords), openStack.state.application_credential.secret]) {
      rememberSecret(Buffer.from(secret));
    }
    const keystone = await HttpProxy.start(openStack.keystoneUrl);
    const barbican = await HttpProxy.start(openStack.barbicanUrl);
    return new TestCloud(directory, openStack, keystone, barbican);
  }

  /** A path that nothing is at. */
  newPath(name: string): string {
    return join(this.directory, `${name}-${this.#made++}`);
  }

  /** A `cloud.conf` with the plugin's application credential, or another login. @returns its path */
  cloudConf(lines: Readonly<Record<string, string>> = this.applicationCredential(), more = ''): string {
    const path = this.newPath('cloud.conf');
    this.writeCloudConf(path, lines, more);
    return path;
  }

  writeCloudConf(path: string, lines: Readonly<Record<string, string>>, more = ''): void {
    const variables = Object.entries({ 'auth-url': this.keystone.url, ...lines }).map(
      ([name, value]) => `${name}="${value}"`,
    );
    writeFileSync(path, `[Global]\n${variables.join('\n')}\n${more}`, { mode: 0o600 });
  }

  applicationCredential(): Record<string, string> {
    const { id, secret } = this.openStack.state.application_credential;
    return { 'application-credential-id': id, 'application-credential-secret': secret };
  }

  password(user: 'kms' | 'observer' | 'audit' | 'other', project = 'kms'): Record<string, string> {
    return {
      username: user,
      password: this.openStack.state.passwords[user],
      'tenant-name': project,
      'domain-id': 'default',
    };
  }

  /** A source that talks to both through the proxies. */
  open(uri: string, settings: Readonly<Record<string, unknown>> = {}, shared = this.newShared()): KeysetSource {
    const parsed = barbicanProvider.settings.parse({
      endpoint: this.barbican.url,
      cloudConfig: this.cloudConf(),
      ...settings,
    });
    return barbicanProvider.open(uri, parsed, shared);
  }

  session(
    settings: Readonly<Record<string, unknown>> = { cloudConfig: this.cloudConf() },
    environment: Readonly<Record<string, string>> = {},
  ): KeystoneSession {
    const parsed = cloudSettings.parse({ endpoint: this.barbican.url, ...settings });
    return new KeystoneSession(new CloudConfiguration(parsed, environment), this.clock);
  }

  newShared(): SharedResources {
    return new SharedResources(undefined, this.clock);
  }

  /** Over a session of its own, for what a test does behind a source's back. */
  get client(): BarbicanClient {
    this.#session ??= this.session();
    return new BarbicanClient(this.#session, this.clock);
  }

  /** Ends all faults, and forgets what was counted. */
  heal(): void {
    this.#rememberTokens();
    this.clock.wallOffsetMs = 0;
    for (const proxy of [this.keystone, this.barbican]) {
      proxy.fault = () => undefined;
      proxy.requests.length = 0;
    }
  }

  async stop(): Promise<void> {
    this.#rememberTokens();
    await this.#rememberPayloads();
    await Promise.all([this.keystone.close(), this.barbican.close()]);
    await this.openStack.stop();
    const logs = process.env['TEAPOT_TEST_LOG_DIR'];
    if (logs !== undefined) {
      mkdirSync(logs, { recursive: true });
      // Not Keystone's: it logs each token that it refuses ("Could not find token").
      const log = this.openStack.barbicanLog;
      copyFileSync(log, join(logs, `${basename(this.directory)}-${basename(log)}`));
    }
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Every token that was used, for the search of the logs. */
  get tokens(): readonly string[] {
    return [...new Set(this.barbican.requests.map(({ headers }) => headers['x-auth-token']))].filter(
      (token) => typeof token === 'string',
    );
  }

  #rememberTokens(): void {
    for (const token of this.tokens) rememberSecret(Buffer.from(token));
  }

  /** A hundred of the keys that are in Barbican now. */
  async #rememberPayloads(): Promise<void> {
    if (process.env['TEAPOT_TEST_LOG_DIR'] === undefined) return;
    const { admin, state } = this.openStack;
    const token = await admin.token('kms', state.passwords.kms, 'kms');
    const list = (await admin.barbican(token, 'GET', '/secrets?limit=100')) as {
      secrets: { secret_ref: string; bit_length: number | null }[];
    };
    for (const { secret_ref, bit_length } of list.secrets) {
      if (bit_length !== 256) continue;
      const id = secret_ref.split('/').at(-1)!;
      rememberSecret((await this.client.payload(id, patient().signal)).expose());
    }
  }
}
