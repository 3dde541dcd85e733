import type { KeysetProvider } from '../../keyset/keyset-source.ts';
import { LegacyService } from '../../service/legacy-service.ts';
import { CloudConfiguration } from './keystone/configuration.ts';
import { KeystoneSession } from './keystone/session.ts';
import { BarbicanSource } from './source.ts';
import { barbicanSettings, manifestPlaceOf } from './settings.ts';

/**
 * `barbican:/directory` or `barbican:name`: keys are OpenStack Barbican secrets, the manifest is in a directory of this host or, under a
 * name, in Barbican. Instances that log in in the same way share one token.
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
    manifestPlaceOf(uri);
    const configuration = new CloudConfiguration(settings, process.env);
    const lease = shared.acquire(`keystone ${configuration.key}`, () => new KeystoneSession(configuration));
    return new BarbicanSource(uri, settings, lease);
  },
  decorate: (service) => new LegacyService(service),
};
