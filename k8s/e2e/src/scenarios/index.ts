import type { ScenarioGroup } from '../scenario.ts';
import { keySwitch } from './key-switch.ts';
import { oneSeed } from './one-seed.ts';
import { v2Objects } from './v2-objects.ts';
import { wrongKeyset } from './wrong-keyset.ts';

/** KMS v2 as most clusters use it. */
export const v2Group: ScenarioGroup = {
  name: 'v2',
  encrypted: [{ resources: ['secrets', 'teapots.example.com'], providers: ['v2'] }],
  scenarios: [...v2Objects, ...oneSeed, ...keySwitch, ...wrongKeyset],
};
