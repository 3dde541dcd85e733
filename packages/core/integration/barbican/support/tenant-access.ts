import { SharedResources } from '@teapot-kms/core';
import type { BarbicanDeployment } from '@teapot-kms/testing/daemons';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BarbicanClient } from '../../../src/stores/barbican/client.ts';
import { barbicanProvider } from '../../../src/stores/barbican/index.ts';
import { CloudConfiguration, cloudSettings } from '../../../src/stores/barbican/keystone/configuration.ts';
import { KeystoneSession } from '../../../src/stores/barbican/keystone/session.ts';
import type { KeysetSource } from '../../../src/keyset/keyset-source.ts';
import { systemClock } from '../../../src/util/clock.ts';

type Kind = 'node' | 'operator';

const settingsOf = (deployment: BarbicanDeployment, tenant: string, kind: Kind) => ({
  cloudConfig: deployment.conf(tenant, kind),
  endpoint: deployment.barbicanUrl,
});

/** The keyset of a tenant, as its instance has it; the manifest is in Barbican. */
export function openTenant(deployment: BarbicanDeployment, tenant: string, kind: Kind): KeysetSource {
  const settings = barbicanProvider.settings.parse(settingsOf(deployment, tenant, kind));
  return barbicanProvider.open(`barbican:${tenant}`, settings, new SharedResources());
}

/** Any call of Barbican's API, as the administrator of its own project. */
export function administrator(deployment: BarbicanDeployment): KeystoneSession {
  const cloudConfig = join(deployment.root, 'admin.conf');
  const password = readFileSync(join(deployment.etc, 'secrets/admin'), 'utf8').trim();
  const login = { 'auth-url': deployment.keystoneUrl, 'ca-file': deployment.ca, username: 'admin', password };
  const lines = Object.entries({ ...login, 'tenant-name': 'admin', 'domain-id': 'default' });
  writeFileSync(cloudConfig, `[Global]\n${lines.map(([name, value]) => `${name}="${value}"`).join('\n')}\n`, {
    mode: 0o600,
  });
  const settings = cloudSettings.parse({ cloudConfig, endpoint: deployment.barbicanUrl });
  return new KeystoneSession(new CloudConfiguration(settings, {}), systemClock);
}

/** Barbican's API with a login that `teapot-barbican tenant` has written. */
export function clientOf(deployment: BarbicanDeployment, tenant: string, kind: Kind): BarbicanClient {
  const settings = cloudSettings.parse(settingsOf(deployment, tenant, kind));
  return new BarbicanClient(new KeystoneSession(new CloudConfiguration(settings, {}), systemClock), systemClock);
}
