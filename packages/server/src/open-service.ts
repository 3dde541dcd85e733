import { KeysetService, LocalKekService, providerFor } from '@teapot-kms/core';
import type { EventListener, KmsService, SharedResources } from '@teapot-kms/core';
import type { InstanceConfig } from './config/schema.ts';

/** The service of an instance: which of the two there are depends on whether its key store gives keys out. */
export function openService(config: InstanceConfig, shared: SharedResources, onEvent: EventListener): KmsService {
  const { uri, ...settings } = config.keys;
  const provider = providerFor(uri);
  const common = { onEvent, probeIntervalMs: config.probeInterval, statusGraceMs: config.statusGrace };
  if (provider.kind === 'remote-kek') {
    return new LocalKekService({ ...common, remote: provider.open(uri, settings, shared) });
  }
  return new KeysetService({
    ...common,
    source: provider.open(uri, settings, shared),
    goneGraceMs: config.goneGrace,
  });
}
