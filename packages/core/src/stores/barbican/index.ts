import type { KeysetProvider } from '../../keyset/keyset-source.ts';
import { LegacyService } from '../../service/legacy-service.ts';
import { CloudConfiguration } from './keystone/configuration.ts';
import { KeystoneSession } from './keystone/session.ts';
import { manifestPlaceOf, barbicanSettings } from './settings.ts';
import { BarbicanSource } from './source.ts';

/**
 * `barbican:/directory` or `barbican:name`: keys are secrets in OpenStack Barbican. The manifest is in a directory of this host or, under a
 * name, in Barbican. Instances that log in in the same way share one session.
 */
export const barbicanProvider: KeysetProvider<typeof barbicanSettings> = {
  kind: 'keyset',
  scheme: 'barbican',
  settings: barbicanSettings,
  check(uri, settings) {
    manifestPlaceOf(uri);
    new CloudConfiguration(settings, process.env);
  },
  open(uri, settings, shared) {
    const place = manifestPlaceOf(uri);
    const configuration = new CloudConfiguration(settings, process.env);
    const key = `keystone ${configuration.key}`;
    const lease = shared.acquire(key, () => new KeystoneSession(configuration, shared.clock, shared.report));
    return new BarbicanSource(place, settings, lease, shared.clock);
  },
  decorate: (service) => new LegacyService(service),
};
