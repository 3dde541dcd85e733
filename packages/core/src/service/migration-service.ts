import { keyIdOf } from '../envelope/codec.ts';
import { KmsError } from '../errors.ts';
import type { ReplicaReport } from '../keyset/report.ts';
import type {
  CallContext,
  DecryptRequest,
  EncryptContext,
  EncryptResult,
  KmsService,
  MaybePromise,
  ReportSubject,
  ServiceDescription,
  StatusResult,
} from '../kms-service.ts';

/**
 * A service whose keys were in other key stores before: it encrypts with `primary`, and decrypts with every store. An outage of a former store
 * is a warning, because nothing new depends on it.
 */
export class MigrationService implements KmsService {
  readonly #primary: KmsService;
  readonly #formers: readonly KmsService[];
  readonly #all: readonly KmsService[];

  /** @param formers - only decrypt */
  constructor(primary: KmsService, formers: readonly KmsService[]) {
    this.#primary = primary;
    this.#formers = formers;
    this.#all = [primary, ...formers];
  }

  encrypt(plaintext: Uint8Array, context: EncryptContext): MaybePromise<EncryptResult> {
    return this.#primary.encrypt(plaintext, context);
  }

  decrypt(request: DecryptRequest, context: CallContext): MaybePromise<Buffer> {
    const keyId = request.keyId ?? keyIdOf(request.ciphertext);
    const holder = keyId === undefined ? undefined : this.#all.find((service) => service.holds(keyId));
    return holder ? holder.decrypt(request, context) : this.#search(request, context);
  }

  holds(keyId: string): boolean {
    return this.#all.some((service) => service.holds(keyId));
  }

  status(): MaybePromise<StatusResult> {
    return this.#primary.status();
  }

  async ready(): Promise<void> {
    await Promise.all(this.#all.map(async (service) => service.ready()));
  }

  describe(): ServiceDescription {
    const primary = this.#primary.describe();
    const formers = this.#formers.map((service) => service.describe());
    const of = (text: string, { uri }: ServiceDescription): string => `decryptOnly ${uri}: ${text}`;
    return {
      ...primary,
      decryptOnly: formers.map(({ uri, keyset }) => ({ uri, keyset })),
      keys: [primary, ...formers].flatMap(({ keys }) => keys),
      warnings: [...primary.warnings, ...formers.flatMap((one) => one.warnings.map((text) => of(text, one)))],
      hints: [...primary.hints, ...formers.flatMap((one) => one.hints.map((text) => of(text, one)))],
    };
  }

  report(about: ReportSubject): ReplicaReport {
    return this.#primary.report(about);
  }

  start(): void {
    // The primary's guard asks which keysets they hold.
    for (const service of this.#formers) service.start();
    this.#primary.start();
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((service) => service.close()));
  }

  /** The key is in no memory yet, or the ciphertext names none: each store is asked in turn. */
  async #search(request: DecryptRequest, context: CallContext): Promise<Buffer> {
    const errors: KmsError[] = [];
    for (const service of this.#all) {
      try {
        return await service.decrypt(request, context);
      } catch (error) {
        if (!(error instanceof KmsError) || context.signal.aborted) throw error;
        errors.push(error);
      }
    }
    // A store that does not answer may have the key.
    throw errors.find(({ code }) => code === 'ERR_KMS_STORE_UNAVAILABLE') ?? this.#summary(errors);
  }

  #summary(errors: readonly KmsError[]): KmsError {
    const telling = errors.find(({ code }) => code !== 'ERR_KMS_UNKNOWN_KEY');
    if (telling) return telling;
    return new KmsError('ERR_KMS_UNKNOWN_KEY', errors.map(({ message }) => message).join('; '));
  }
}
