import type { SoftHsm } from '@teapot-kms/testing/daemons';
import { FakeClock, until } from '@teapot-kms/testing';
import { utimesSync } from 'node:fs';
import { join } from 'node:path';
import { generateKey, promoteKey } from '../../../src/keyset/administration.ts';
import { HostRecords } from '../../../src/keyset/host-records.ts';
import { KeysetGuard } from '../../../src/service/keyset-guard.ts';
import { LocalKekService } from '../../../src/service/local-kek/local-kek-service.ts';
import type { LocalKekServiceOptions } from '../../../src/service/local-kek/local-kek-service.ts';
import type { Pkcs11Kek } from '../../../src/stores/pkcs11/pkcs11-kek.ts';
import { newDirectory, newKek, openKek, patient } from './tokens.ts';
import type { KekOptions } from './tokens.ts';

const HOUR = 3_600_000;
const SOCKET = '/run/site.sock';
export const plaintext = Buffer.from('kept');

interface Sealed {
  readonly ciphertext: Buffer;
  readonly keyId: string;
}

let labels = 0;
export const newLabel = (): string => `lasting-${++labels}`;

/** A service over one key in the token, and what its host remembers. */
export class LastingSite {
  readonly options: KekOptions;
  readonly clock = new FakeClock();
  readonly manifest: string;
  readonly records: HostRecords;

  constructor(token: SoftHsm) {
    const directory = newDirectory();
    this.options = { token, directory, label: newLabel(), settings: { sessions: 1 } };
    this.manifest = join(directory, 'keyset/keyset.yaml');
    this.records = new HostRecords(join(directory, 'host'));
  }

  /** Two keys, of which the second is the primary, and what the first one has sealed. */
  async promoted(): Promise<{ kek: Pkcs11Kek; first: string; second: string; sealed: Sealed }> {
    const kek = await newKek(this.options);
    const first = (await kek.describe(patient())).primary;
    const sealed = await this.sealed();
    const { keyId: second } = await generateKey(kek.admin);
    await promoteKey(kek.admin, second);
    return { kek, first, second, sealed };
  }

  /** What the primary seals now, under a local KEK that no later service has in memory. */
  async sealed(): Promise<Sealed> {
    const service = this.start();
    await service.status();
    const sealed = await service.encrypt(plaintext, patient());
    await service.close();
    return sealed;
  }

  /** As `teapot-kms keys confirm` does. */
  async confirm(kek: Pkcs11Kek): Promise<void> {
    await this.records.write(SOCKET, (await kek.admin.readManifest())!.manifest);
    this.touch();
  }

  /** Makes a running service read its store. */
  touch(): void {
    utimesSync(this.manifest, new Date(), new Date());
  }

  start(options: Partial<LocalKekServiceOptions> = {}): LocalKekService {
    const remote = openKek(this.options);
    const { records } = this;
    const guard = new KeysetGuard({ name: SOCKET, uri: remote.uri, records });
    // The clock moves only while nothing is read: changes of the directory make the service read.
    const service = new LocalKekService({
      remote,
      guard,
      clock: this.clock,
      probeIntervalMs: 100 * HOUR,
      ...options,
    });
    service.start();
    return service;
  }
}

export const warned = (service: LocalKekService, pattern: RegExp): Promise<unknown> =>
  until(`a warning ${pattern.source}`, () => service.describe().warnings.some((text) => pattern.test(text)), {
    everyMs: 5,
  });

/** The keys that a report of the service proves. */
export const provenBy = (service: LocalKekService): string[] =>
  service
    .report({ replica: '00'.repeat(8), host: 'here', time: '2030-01-01T00:00:00Z', nonce: '00'.repeat(16) })
    .keys.map(({ id }) => id)
    .sort();
