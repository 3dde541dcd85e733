import type { TestCloud } from '@teapot-kms/testing/daemons';
import { patient } from '@teapot-kms/testing/daemons';
import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../src/errors.ts';
import { generateKey } from '../../../src/keyset/administration.ts';
import type { KeysetSource } from '../../../src/keyset/keyset-source.ts';
import type { MaybePromise } from '../../../src/kms-service.ts';
import { KeysetService } from '../../../src/service/keyset-service.ts';
import { LegacyService } from '../../../src/service/legacy-service.ts';

type Settings = Readonly<Record<string, unknown>>;

/** A keyset, and something that was encrypted with it before anything goes wrong. */
export class Kept {
  readonly directory: string;
  readonly #cloud: TestCloud;
  #sealed: { ciphertext: Buffer; keyId: string; plaintext: Buffer } | undefined;

  private constructor(cloud: TestCloud) {
    this.#cloud = cloud;
    this.directory = cloud.newPath('kept');
  }

  /** @param settings - with which a key can be made */
  static async make(cloud: TestCloud, settings: Settings = {}): Promise<Kept> {
    const kept = new Kept(cloud);
    const source = kept.#open(settings);
    await generateKey(source.admin!);
    const plaintext = randomBytes(32);
    rememberSecret(plaintext);
    kept.#sealed = {
      ...(await use(source, (service) => service.encrypt(plaintext, patient()))),
      plaintext,
    };
    return kept;
  }

  /** What doctor advises of a key store with these settings: of the load, and of the examination. */
  async advice(settings: Settings): Promise<string[]> {
    try {
      const source = this.#open(settings);
      const problems = await source.load(patient()).then(
        (keyset) => {
          keyset.destroy();
          return keyset.warnings;
        },
        (error: unknown) => [KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE')],
      );
      const findings = await source.examine!(patient());
      await source.close!();
      return [...problems, ...findings].flatMap((one) => (typeof one === 'string' ? one : (one.remedy ?? [])));
    } catch (error) {
      return [(error as KmsError).remedy ?? (error as Error).message];
    }
  }

  /** Asserts that the advice is this. @returns the whole text */
  async advised(settings: Settings, text: string): Promise<string> {
    const advice = await this.advice(settings);
    const found = advice.find((one) => one.includes(text));
    assert.ok(found, `no ${JSON.stringify(text)} in ${JSON.stringify(advice)}`);
    return found;
  }

  /** Asserts that nothing is to do, and that what was encrypted before opens. */
  async healed(settings: Settings): Promise<void> {
    const source = this.#open(settings);
    const findings = await source.examine!(patient());
    assert.equal(
      findings.flatMap(({ remedy }) => remedy ?? []),
      [],
    );
    const { plaintext, ...sealed } = this.#sealed!;
    await use(source, async (service) => {
      assert.equal(await service.decrypt(sealed, patient()), plaintext);
      assert.equal(service.describe().warnings, []);
    });
  }

  /** Decrypts, also what another plugin encrypted. */
  opens(settings: Settings, sealed: { ciphertext: Buffer; keyId: string }): Promise<Buffer> {
    return use(this.#open(settings), (service) => new LegacyService(service).decrypt(sealed, patient()));
  }

  #open(settings: Settings): KeysetSource {
    return this.#cloud.open(`barbican:${this.directory}`, settings);
  }
}

async function use<T>(source: KeysetSource, work: (service: KeysetService) => MaybePromise<T>): Promise<T> {
  // It loads once.
  const service = new KeysetService({ source, probeIntervalMs: 3_600_000 });
  service.start();
  try {
    return await work(service);
  } finally {
    await service.close();
  }
}
