import { KeysetService, LocalKekService, localKekOptions, providerFor } from '@teapot-kms/core';
import type { CryptoEngine, EventListener, KmsService, LocalKekSettings, SharedResources } from '@teapot-kms/core';
import type { InstanceConfig } from './config/schema.ts';

/** Resources that the instances of a process share. */
export interface ProcessResources {
  readonly shared: SharedResources;
  readonly crypto: CryptoEngine;
}

/** The service of an instance: which of the two there are depends on whether its key store gives keys out. */
export function openService(
  config: InstanceConfig,
  { shared, crypto }: ProcessResources,
  onEvent: EventListener,
): KmsService {
  const { uri, ...settings } = config.keys;
  const provider = providerFor(uri);
  const common = { onEvent, crypto, probeIntervalMs: config.probeInterval, statusGraceMs: config.statusGrace };
  if (provider.kind === 'remote-kek') {
    // Part of every such provider's settings, so the configuration's schema has seen to them.
    const localKeks = localKekOptions(settings as LocalKekSettings);
    return new LocalKekService({ ...common, ...localKeks, remote: provider.open(uri, settings, shared) });
  }
  const source = provider.open(uri, settings, shared);
  const service = new KeysetService({ ...common, source, goneGraceMs: config.goneGrace });
  return provider.decorate?.(service) ?? service;
}
