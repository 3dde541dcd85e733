import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import type { Token } from '@teapot-kms/testing/daemons';
import { rememberSecret, until } from '@teapot-kms/testing';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../../../src/util/clock.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { KmsError } from '../../../src/errors.ts';
import type { KmsErrorCode } from '../../../src/errors.ts';
import { LocalKekService } from '../../../src/service/local-kek/local-kek-service.ts';
import type { LocalKekServiceOptions } from '../../../src/service/local-kek/local-kek-service.ts';
import type { CallContext, ServiceEvent } from '../../../src/kms-service.ts';
import type { ResourceEvent } from '../../../src/util/shared-resources.ts';
import { collectReports, newDirectory, newKek, openKek, patient, use } from './tokens.ts';
import type { KekOptions } from './tokens.ts';

/** Names of PKCS#11 2.40 for the shim's orders. */
export const CKR = {
  generalError: 0x5,
  functionFailed: 0x6,
  deviceError: 0x30,
  deviceRemoved: 0x32,
  keyFunctionNotPermitted: 0x68,
  pinLocked: 0xa4,
  sessionHandleInvalid: 0xb3,
  userAlreadyLoggedIn: 0x100,
  userNotLoggedIn: 0x101,
} as const;

/** The real clock, which a test can set forward: ages and grace times pass without being waited for. */
export class ForwardClock implements Clock {
  #skipped = 0;
  readonly after: Clock['after'] = (...args) => systemClock.after(...args);

  now(): number {
    return systemClock.now() + this.#skipped;
  }

  wall(): number {
    return systemClock.wall() + this.#skipped;
  }

  skip(ms: number): void {
    this.#skipped += ms;
  }
}

export interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly plaintext: Buffer;
}

/** What each column of the failure table (design §6) says. A pattern is what Status gives as healthz beside its key_id. */
export interface Columns {
  readonly encrypt: 'works' | KmsErrorCode;
  readonly cached: 'works' | KmsErrorCode;
  /** Left out where asking once more would only make the token host wait longer before it starts again. */
  readonly cold?: 'works' | KmsErrorCode;
  readonly status: 'ok' | RegExp | KmsErrorCode;
}

export const ALL_WELL = { encrypt: 'works', cached: 'works', cold: 'works', status: 'ok' } as const;

/** SoftHSM2 behind a shim, for the tests of a file; `undefined` where it cannot be had, which is then said. */
export async function shimmedToken(what: string): Promise<{ softHsm: SoftHsm; shim: Shim } | undefined> {
  const missing = SoftHsm.missing() ?? Shim.missing();
  if (missing !== undefined) {
    console.log(`SKIPPED ${what}: ${missing}`);
    return undefined;
  }
  const softHsm = await SoftHsm.create(newDirectory());
  const shim = Shim.over(softHsm);
  use(shim);
  return { softHsm, shim };
}

/** A key in the token, and envelopes under it that another replica has sealed: each with a local KEK of its own. */
export interface SealedKey {
  readonly keyId: string;
  readonly label: string;
  /** Holds the manifest. */
  readonly directory: string;
  readonly envelopes: readonly Sealed[];
}

let labels = 0;

/** @param makeKek - default: makes a key in the token */
export async function sealedKey(token: Token, envelopes: number, makeKek = newKek): Promise<SealedKey> {
  const [label, directory] = [`kek${String(labels++)}`, newDirectory()];
  const remote = await makeKek({ token, directory, label, settings: { sessions: 1 } });
  const service = new LocalKekService({ remote, direct: true });
  service.start();
  const answers = async () => (await service.status()).healthz === 'ok';
  await until('the token answers', answers, { everyMs: 20, timeoutMs: 40_000 });
  const sealed = await Promise.all(Array.from({ length: envelopes }, () => seal(service)));
  await service.close();
  return { keyId: sealed[0]!.keyId, label, directory, envelopes: sealed };
}

export interface RigOptions {
  readonly shim: Shim;
  readonly key: SealedKey;
  readonly service?: Partial<LocalKekServiceOptions>;
  readonly settings?: KekOptions['settings'];
}

/** One service over one key in a shimmed token, with everything that a row of the failure table asks about. */
export class Rig {
  readonly shim: Shim;
  readonly key: SealedKey;
  readonly clock = new ForwardClock();
  readonly events: ServiceEvent[] = [];
  readonly reports: readonly ResourceEvent[];
  readonly options: KekOptions;
  readonly #serviceOptions: Partial<LocalKekServiceOptions>;
  readonly #cached: Sealed;
  readonly #cold: Sealed[];
  #service: LocalKekService | undefined;

  private constructor({ shim, key, service = {}, settings }: RigOptions) {
    const { shared, reports } = collectReports();
    this.shim = shim;
    this.key = key;
    this.reports = reports;
    this.#serviceOptions = service;
    const [cached, ...cold] = key.envelopes;
    this.#cached = cached!;
    this.#cold = cold;
    const own = { sessions: 2, callTimeout: '5s', stateDirectory: join(newDirectory(), 'state') };
    this.options = {
      token: shim,
      directory: key.directory,
      shared,
      label: key.label,
      settings: { ...own, ...settings },
    };
  }

  /** Runs a test on a rig with a service for which all is well. */
  static async started(options: RigOptions, run: (rig: Rig) => Promise<void>): Promise<void> {
    await Rig.prepared(options, async (rig) => {
      rig.open();
      await rig.settles(ALL_WELL);
      await run(rig);
    });
  }

  /** Runs a test on a rig without a service. */
  static async prepared(options: RigOptions, run: (rig: Rig) => Promise<void>): Promise<void> {
    options.shim.clear();
    options.shim.resetCounters();
    const rig = new Rig(options);
    try {
      await run(rig);
    } finally {
      await rig.close();
    }
  }

  open(changes: Partial<KekOptions> = {}): void {
    this.#service = new LocalKekService({
      remote: openKek({ ...this.options, ...changes }),
      clock: this.clock,
      onEvent: (event) => this.events.push(event),
      probeIntervalMs: 200,
      ...this.#serviceOptions,
    });
    this.service.start();
  }

  get service(): LocalKekService {
    assert.ok(this.#service, 'the rig is not open');
    return this.#service;
  }

  async close(): Promise<void> {
    this.shim.clear();
    await this.#service?.close();
    this.#service = undefined;
  }

  counter(name: string): number {
    return this.service.describe().counters[name]!;
  }

  /** An envelope under a key that was not unwrapped here yet. */
  cold(): Sealed {
    const sealed = this.#cold.pop();
    assert.ok(sealed, 'the rig has no cold envelope left');
    return sealed;
  }

  /** Waits until a probe fails. */
  async probeFails(): Promise<void> {
    const before = this.counter('probe_failures');
    await until('a probe fails', () => this.counter('probe_failures') > before, { everyMs: 20 });
  }

  /** Asserts all columns of the failure table as they are now. */
  async expect(columns: Columns): Promise<void> {
    const status = await this.#status();
    const found = {
      encrypt: await outcomeOf(() => this.#sealsAndOpens()),
      cached: await outcomeOf(() => this.opens(this.#cached)),
      ...(columns.cold && { cold: await outcomeOf(() => this.opens(this.cold())) }),
      status: columns.status instanceof RegExp && columns.status.test(status) ? columns.status : status,
    };
    assert.deepEqual(found, columns);
  }

  /** As {@link Rig.expect}, once Status is as it should be: what the background finds out takes a moment. */
  async settles(columns: Columns): Promise<void> {
    const wanted = (status: string) =>
      columns.status instanceof RegExp ? columns.status.test(status) : columns.status === status;
    let last = '';
    const asked = async () => wanted((last = await this.#status()));
    await until(`Status is ${String(columns.status)}`, asked, { everyMs: 20, timeoutMs: 40_000 }).catch(
      (error: unknown) => assert.fail(`${(error as Error).message}; Status is ${last}`),
    );
    await this.expect(columns);
  }

  async opens(sealed: Sealed, context: CallContext = patient()): Promise<void> {
    const plaintext = await this.service.decrypt(sealed, context);
    // Not an outcome like others: a wrong plaintext must never be.
    if (!plaintext.equals(sealed.plaintext)) throw new Error('a wrong plaintext');
  }

  async #sealsAndOpens(): Promise<void> {
    const sealed = await seal(this.service);
    assert.equal(sealed.keyId, this.key.keyId);
    await this.opens(sealed);
  }

  /** healthz, or the code of the error. */
  async #status(): Promise<string> {
    try {
      const { healthz, keyId } = await this.service.status();
      assert.equal(keyId, this.key.keyId, 'key_id is kept');
      return healthz;
    } catch (error) {
      if (error instanceof KmsError) return error.code;
      throw error;
    }
  }
}

export async function seal(service: LocalKekService): Promise<Sealed> {
  const plaintext = randomBytes(32);
  rememberSecret(plaintext);
  return { ...(await service.encrypt(plaintext, patient())), plaintext };
}

async function outcomeOf(work: () => Promise<void>): Promise<'works' | KmsErrorCode> {
  try {
    await work();
    return 'works';
  } catch (error) {
    if (error instanceof KmsError) return error.code;
    throw error;
  }
}
