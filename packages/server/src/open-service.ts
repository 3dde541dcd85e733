import {
  KeysetGuard,
  KeysetService,
  LocalKekService,
  localKekOptions,
  MigrationService,
  providerFor,
} from '@teapot-kms/core';
import type {
  CryptoEngine,
  EventListener,
  HostRecords,
  KeysetSource,
  KmsService,
  LocalKekSettings,
  RemoteKek,
  SharedResources,
} from '@teapot-kms/core';
import type { InstanceConfig, KeysConfig } from './config/schema.ts';

export interface ServiceParts {
  /** What the instances of a process share. */
  readonly shared: SharedResources;
  readonly crypto: CryptoEngine;
  /** What this host remembers of its keysets. */
  readonly records: HostRecords;
  readonly onEvent: EventListener;
}

type Settings = Pick<InstanceConfig, 'probeInterval' | 'statusGrace' | 'goneGrace'>;

/** The service of an instance, over the stores of its keys: the present one, and those that only decrypt. */
export function openService(config: InstanceConfig, parts: ServiceParts): KmsService {
  const { keys, socket } = config;
  const onEvent: EventListener = (event) => {
    // Nothing is encrypted with their keys, and another store may have what they do not have.
    if (event.type !== 'key-switched' && event.type !== 'unknown-key') parts.onEvent(event);
  };
  const formers = config.decryptOnly.map((former) =>
    openStore(former, config, { ...parts, onEvent }, { decryptOnly: true, nameOf: (uri) => `${socket} ${uri}` }),
  );
  const decryptOnly = (): Promise<readonly string[]> => contextIdsOf(formers);
  const primary = openStore(keys, config, parts, { decryptOnly, nameOf: () => socket });
  return formers.length === 0 ? primary : new MigrationService(primary, formers);
}

interface Role {
  /** Whether the store only decrypts; if not, the keysets of those that do. */
  readonly decryptOnly: true | (() => Promise<readonly string[]>);
  /** The name of a store for this host's records. */
  readonly nameOf: (uri: string) => string;
}

function openStore(
  { uri, ...settings }: KeysConfig,
  { probeInterval, statusGrace, goneGrace }: Settings,
  { shared, crypto, records, onEvent }: ServiceParts,
  { decryptOnly, nameOf }: Role,
): KmsService {
  const provider = providerFor(uri);
  const store = provider.open(uri, settings, shared);
  const guard = new KeysetGuard({
    name: nameOf(store.uri),
    uri: store.uri,
    records,
    ...(decryptOnly !== true && { decryptOnly }),
  });
  const common = { crypto, onEvent, guard, probeIntervalMs: probeInterval, statusGraceMs: statusGrace };
  if (provider.kind === 'remote-kek') {
    // Part of every such provider's settings, so the configuration's schema has seen to them.
    const localKeks = localKekOptions(settings as LocalKekSettings);
    return new LocalKekService({
      ...common,
      ...localKeks,
      remote: store as RemoteKek,
      decryptOnly: decryptOnly === true,
    });
  }
  const service = new KeysetService({ ...common, source: store as KeysetSource, goneGraceMs: goneGrace });
  return provider.decorate?.(service) ?? service;
}

/** Waits for the first answer of each store. */
async function contextIdsOf(services: readonly KmsService[]): Promise<readonly string[]> {
  await Promise.allSettled(services.map(async (service) => service.ready()));
  return services.flatMap((service) => service.describe().keyset?.contextId ?? []);
}
