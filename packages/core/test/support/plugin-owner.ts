// Runs an exec plugin, and ends, or is ended, while it runs.
//   node plugin-owner.ts PLUGIN exit|wait|no-descriptors
import { existsSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/util/clock.ts';
import { runPlugin } from '../../src/stores/k8s-secret/kubeconfig/exec-plugin.ts';
import type { KmsError } from '../../src/errors.ts';
import { patient } from './context.ts';

const [command = '', how] = process.argv.slice(2);
if (how === 'no-descriptors') {
  try {
    for (;;) openSync('/dev/null', 'r');
  } catch {
    // There is none left.
  }
}
const call = {
  where: 'FILE',
  command,
  args: [],
  env: [],
  apiVersion: 'client.authentication.k8s.io/v1',
  info: '',
  installHint: undefined,
};
const running = runPlugin(call, { clock: systemClock, env: process.env, signal: patient.signal });
if (how === 'exit') {
  while (!existsSync(`${command}.pid`)) await sleep(5);
  process.exit(0);
}
await running.catch((error: unknown) => process.stdout.write((error as KmsError).code));
