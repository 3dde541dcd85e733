import { KeysetGuard, KeysetService, LocalKekService, localKekOptions, providerFor } from '@teapot-kms/core';
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
import type { InstanceConfig } from './config/schema.ts';

/** Resources that the instances of a process share. */
export interface ProcessResources {
  readonly shared: SharedResources;
  readonly crypto: CryptoEngine;
  /** What this host remembers of its keysets. */
  readonly records: HostRecords;
}

/** The service of an instance: which of the two there are depends on whether its key store gives keys out. */
export function openService(
  config: InstanceConfig,
  { shared, crypto, records }: ProcessResources,
  onEvent: EventListener,
): KmsService {
  const { uri, ...settings } = config.keys;
  const provider = providerFor(uri);
  const store = provider.open(uri, settings, shared);
  const common = {
    onEvent,
    crypto,
    guard: new KeysetGuard({ name: config.socket, uri: store.uri, records }),
    probeIntervalMs: config.probeInterval,
    statusGraceMs: config.statusGrace,
  };
  if (provider.kind === 'remote-kek') {
    // Part of every such provider's settings, so the configuration's schema has seen to them.
    const localKeks = localKekOptions(settings as LocalKekSettings);
    return new LocalKekService({ ...common, ...localKeks, remote: store as RemoteKek });
  }
  const service = new KeysetService({ ...common, source: store as KeysetSource, goneGraceMs: config.goneGrace });
  return provider.decorate?.(service) ?? service;
}
