import { settle } from '@teapot-kms/testing';
import type { FakeClock } from '@teapot-kms/testing';
import { KmsError } from '../../src/errors.ts';
import { HostRecords } from '../../src/keyset/host-records.ts';
import type { StoredManifest } from '../../src/keyset/manifest.ts';
import type { ReplicaReport } from '../../src/keyset/report.ts';
import type { EncryptResult, MaybePromise } from '../../src/kms-service.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { KeysetService } from '../../src/service/keyset-service.ts';
import { patient } from './context.ts';
import type { KeysetDirectory } from './keyset-directories.ts';
import { memoryFs } from './memory-fs.ts';
import type { FsFaults } from './memory-fs.ts';

/** Least ms between two loads for reported changes. */
const WATCH_PACE_MS = 500;
/** Longer than the longest wait between two probes. */
const PROBE_MS = 40_000;

/** A plugin on one host: its own keyset directory, and its own memory of what it has used. */
export class Replica {
  readonly directory: KeysetDirectory;
  readonly #name: string;
  readonly #clock: FakeClock;
  /** What the file system of its state directory refuses at present. */
  readonly recordFaults: FsFaults = {};
  readonly #records = new HostRecords('/var/lib/teapot-kms', memoryFs(this.recordFaults));
  #service!: KeysetService;
  #changed: () => void = () => undefined;
  #loads = 0;

  constructor(name: string, directory: KeysetDirectory, clock: FakeClock) {
    this.#name = name;
    this.directory = directory;
    this.#clock = clock;
  }

  get service(): KeysetService {
    return this.#service;
  }

  async start(): Promise<void> {
    const { source } = this.directory;
    this.#service = new KeysetService({
      source: {
        uri: source.uri,
        load: async (context) => {
          this.#loads++;
          return source.load(context).finally(() => this.#loads--);
        },
        watch: (onChange) => {
          this.#changed = onChange;
          return () => undefined;
        },
      },
      guard: new KeysetGuard({ name: this.#name, uri: source.uri, records: this.#records }),
      clock: this.#clock,
      // The clock may move while the disk is read.
      loadTimeoutMs: 3_600_000,
    });
    this.#service.start();
    await this.quiet();
  }

  async stop(): Promise<void> {
    await this.#service.close();
    await this.quiet();
  }

  /** The watch reports a change, and the plugin draws its conclusions. */
  async noticeChange(): Promise<void> {
    // So much that the service does not put the change off.
    await this.#clock.advance(WATCH_PACE_MS);
    this.#changed();
    await this.quiet();
  }

  /** Resolves when no load is under way, and nothing waits for its turn. */
  async quiet(): Promise<void> {
    do await settle();
    while (this.#loads > 0);
    await settle();
  }

  /** Time passes until the plugin has probed its store. */
  async probe(): Promise<void> {
    await this.#clock.advance(PROBE_MS);
    await this.quiet();
  }

  /** As `teapot-kms keys confirm` does it. */
  async confirm(manifest: StoredManifest): Promise<void> {
    await this.#records.write(this.#name, manifest);
  }

  remembered() {
    return this.#records.read(this.#name);
  }

  report(): ReplicaReport {
    const time = new Date(this.#clock.wall()).toISOString();
    const replica = Buffer.from(this.#name.padEnd(8)).toString('hex');
    return this.#service.report({ replica, host: this.#name, time, nonce: '00'.repeat(16) });
  }

  /** Whether a key is in memory and may open. */
  holds(keyId: string): boolean {
    try {
      return this.#service.keyset?.get(keyId) !== undefined;
    } catch {
      return false;
    }
  }

  /** @returns `undefined` if the plugin refuses */
  async encrypt(plaintext: Buffer): Promise<EncryptResult | undefined> {
    const result = await refusalOr(() => this.#service.encrypt(plaintext, patient));
    return result instanceof KmsError ? undefined : result;
  }

  /** Decrypt may wait for the next read of the store, so the clock moves on. */
  async decrypt(ciphertext: Buffer): Promise<Buffer | KmsError> {
    const state = { over: false };
    const call = refusalOr(() => this.#service.decrypt({ ciphertext }, patient));
    if (!(call instanceof Promise)) return call;
    const end = call.finally(() => (state.over = true));
    await settle();
    while (!state.over) {
      await this.#clock.advance(1_000);
      await this.quiet();
    }
    return end;
  }
}

function refusalOr<T>(call: () => MaybePromise<T>): MaybePromise<T | KmsError> {
  try {
    const result = call();
    return result instanceof Promise ? result.catch(asRefusal) : result;
  } catch (error) {
    return asRefusal(error);
  }
}

function asRefusal(error: unknown): KmsError {
  if (error instanceof KmsError) return error;
  throw error;
}
