import type { ScenarioGroup } from '../scenario.ts';
import { gracefulRestart } from './graceful-restart.ts';
import { inspectObjects } from './inspect.ts';
import { keySwitch } from './key-switch.ts';
import { kills } from './kills.ts';
import { latePlugin } from './late-plugin.ts';
import { oneSeed } from './one-seed.ts';
import { outage } from './outage.ts';
import { v1Restart } from './v1-restart.ts';
import { v1ToV2 } from './v1-to-v2.ts';
import { v2Objects } from './v2-objects.ts';
import { wrongKeyset } from './wrong-keyset.ts';

/** KMS v2 as most clusters use it. */
export const v2Group: ScenarioGroup = {
  name: 'v2',
  encrypted: [{ resources: ['secrets', 'teapots.example.com'], providers: ['v2'] }],
  scenarios: [...v2Objects, ...inspectObjects, ...oneSeed, ...keySwitch, ...wrongKeyset],
};

/** KMS v1, and the way from it to v2. */
export const v1Group: ScenarioGroup = {
  name: 'v1',
  encrypted: [{ resources: ['secrets'], providers: ['v1'] }],
  featureGates: ['KMSv1=true'],
  scenarios: [...v1Restart, ...inspectObjects, ...gracefulRestart, ...v1ToV2],
};

/** Plugin or key store away. */
export const outageGroup: ScenarioGroup = {
  name: 'outages',
  encrypted: [{ resources: ['secrets'], providers: ['v2'] }],
  // So that an outage of the key store shows while a test waits for it.
  pluginSettings: { probeInterval: '1s', statusGrace: '2s' },
  startsItself: true,
  scenarios: [...latePlugin, ...outage],
};

/** SIGKILL at the worst moments. */
export const killGroup: ScenarioGroup = {
  name: 'kills',
  encrypted: [
    { resources: ['secrets'], providers: ['v1'] },
    { resources: ['configmaps'], providers: ['v2'] },
  ],
  featureGates: ['KMSv1=true'],
  scenarios: kills,
};
