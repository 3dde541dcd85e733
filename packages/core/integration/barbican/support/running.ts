import { patient } from '@teapot-kms/testing/daemons';
import type { TestCloud } from '@teapot-kms/testing/daemons';
import { rememberSecret, until } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import * as assert from 'uvu/assert';
import type { KmsErrorCode } from '../../../src/errors.ts';
import { generateKey, promoteKey } from '../../../src/keyset/administration.ts';
import { KeysetService } from '../../../src/service/keyset-service.ts';
import type { KeysetServiceOptions } from '../../../src/service/keyset-service.ts';
import type { KeysetSource } from '../../../src/keyset/keyset-source.ts';
import { formatManifest, parseManifest } from '../../../src/keyset/manifest.ts';
import type { ServiceEvent } from '../../../src/kms-service.ts';

/** ms; so short that a test need not wait. */
const PROBE_INTERVAL_MS = 300;
const STATUS_GRACE_MS = 3_000;

/** A service over a keyset in Barbican, as an instance of the plugin has it, with what an operator and kube-apiserver see of it. */
export class RunningService {
  readonly cloud: TestCloud;
  readonly source: KeysetSource;
  readonly service: KeysetService;
  readonly cloudConfig: string;
  readonly manifest: string;
  readonly #events: readonly ServiceEvent[];

  private constructor(
    cloud: TestCloud,
    source: KeysetSource,
    paths: { cloudConfig: string; manifest: string },
    parts: { service: KeysetService; events: readonly ServiceEvent[] },
  ) {
    this.cloud = cloud;
    this.source = source;
    this.cloudConfig = paths.cloudConfig;
    this.manifest = paths.manifest;
    this.service = parts.service;
    this.#events = parts.events;
  }

  /** With one key, loaded. @param login - variables of its cloud.conf */
  static async start(
    cloud: TestCloud,
    login: Readonly<Record<string, string>> = cloud.applicationCredential(),
    settings: Readonly<Record<string, unknown>> = {},
    options: Partial<KeysetServiceOptions> = {},
  ): Promise<RunningService> {
    const directory = cloud.newPath('keyset');
    const cloudConfig = cloud.cloudConf(login);
    const source = cloud.open(`barbican:${directory}`, { cloudConfig, ...settings });
    await generateKey(source.admin!);
    const events: ServiceEvent[] = [];
    const service = new KeysetService({
      source,
      onEvent: (event) => {
        if (event.type !== 'store-operation') events.push(event);
      },
      probeIntervalMs: PROBE_INTERVAL_MS,
      statusGraceMs: STATUS_GRACE_MS,
      clock: cloud.clock,
      ...options,
    });
    service.start();
    const running = new RunningService(
      cloud,
      source,
      { cloudConfig, manifest: join(directory, 'keyset.yaml') },
      { service, events },
    );
    await running.untilOk();
    return running;
  }

  /** Waits until it has loaded its keys some more times. */
  async untilLoadedAgain(times = 3): Promise<void> {
    const loads = () => this.service.describe().counters['loads'] ?? 0;
    const before = loads();
    await until('it has loaded again', () => loads() >= before + times, { everyMs: 20 });
  }

  /** What kube-apiserver gets: healthz, or the code of an error. */
  async status(): Promise<string> {
    try {
      return (await this.service.status()).healthz;
    } catch (error) {
      return (error as { code: string }).code;
    }
  }

  async untilOk(): Promise<void> {
    const ok = async () => (await this.status()) === 'ok' && this.service.describe().warnings.length === 0;
    await until('Status is ok', ok, { everyMs: 20 });
  }

  /** Waits until Status says something that matches. @returns what it says */
  async untilStatus(pattern: RegExp, timeoutMs = 30_000): Promise<string> {
    const what = `Status says ${String(pattern)}`;
    return until(
      what,
      async () => {
        const status = await this.status();
        if (pattern.test(status)) return status;
        throw new Error(status);
      },
      { everyMs: 20, timeoutMs },
    );
  }

  /** Waits until an operator is warned (`teapot-kms status`, a metric, the log). */
  async untilWarned(pattern: RegExp): Promise<string> {
    return until(
      `there is a warning ${String(pattern)}`,
      () => {
        const { warnings } = this.service.describe();
        const found = warnings.find((warning) => pattern.test(warning));
        if (found !== undefined) return found;
        throw new Error(warnings.join('; '));
      },
      { everyMs: 20 },
    );
  }

  /** Failures that the machine's speed does not cause: all but those of time. */
  get refusals(): number {
    return this.#events.filter(
      (event) => event.type === 'store-failed' && !/did not answer within/.test(event.error.message),
    ).length;
  }

  /** How often the store failed with this code, of those that were news. */
  failuresWith(code: KmsErrorCode): number {
    return this.#events.filter(
      (event) => event.type === 'store-failed' && 'code' in event.error && event.error.code === code,
    ).length;
  }

  async seal(): Promise<{ ciphertext: Buffer; keyId: string; plaintext: Buffer }> {
    const plaintext = randomBytes(32);
    rememberSecret(plaintext);
    return { ...(await this.service.encrypt(plaintext, patient())), plaintext };
  }

  /** Encrypts and decrypts: what goes on working. */
  async works(): Promise<void> {
    await this.opens(await this.seal());
  }

  async opens({
    ciphertext,
    keyId,
    plaintext,
  }: {
    ciphertext: Buffer;
    keyId: string;
    plaintext: Buffer;
  }): Promise<void> {
    assert.equal(await this.service.decrypt({ ciphertext, keyId }, patient()), plaintext);
  }

  /** @returns the new primary */
  async rotate(): Promise<string> {
    const { keyId } = await generateKey(this.source.admin!);
    await promoteKey(this.source.admin!, keyId);
    await until('the new key is the primary', async () => (await this.service.status()).keyId === keyId, {
      everyMs: 20,
    });
    return keyId;
  }

  secretOf(keyId: string): string {
    const found = this.#read().keys.find(({ id }) => id === keyId)?.secret;
    if (found === undefined) throw new Error(`${keyId} names no secret`);
    return found;
  }

  /** Edits the manifest by hand, as an operator who has uploaded a key again. */
  nameSecret(keyId: string, secret: string): void {
    const manifest = this.#read();
    const keys = manifest.keys.map((key) => (key.id === keyId ? { ...key, secret } : key));
    writeFileSync(this.manifest, formatManifest({ ...manifest, keys }));
  }

  /** Checks that no event, which is what logs are made of, holds a password, a token or a key. */
  async close(): Promise<void> {
    const { tokens, openStack } = this.cloud;
    const { passwords, application_credential: credential } = openStack.state;
    const events = inspect(this.#events, { depth: Infinity, showHidden: true });
    const own = [...readFileSync(this.cloudConfig, 'utf8').matchAll(/(?:password|secret)="(.+)"/g)].map(
      ([, text]) => text!,
    );
    for (const secret of [...tokens, ...Object.values(passwords), credential.secret, ...own]) {
      assert.not.ok(events.includes(secret), 'an event holds a password or token');
    }
    await this.service.close();
  }

  #read() {
    return parseManifest(readFileSync(this.manifest, 'utf8'), this.manifest);
  }
}
