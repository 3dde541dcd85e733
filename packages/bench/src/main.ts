/**
 * Measures, and prints each figure on a line `FIGURE name: value`. Compares nothing with fixed times: what it prints is
 * true of this machine and this moment.
 *
 * usage: npm run bench [SCENARIO]...
 */
import { tokenStorm } from './scenarios/token-storm.ts';

const scenarios: Readonly<Record<string, () => Promise<void>>> = { 'token-storm': tokenStorm };

const chosen = process.argv.slice(2);
for (const name of chosen.length > 0 ? chosen : Object.keys(scenarios)) {
  const scenario = scenarios[name];
  if (!scenario) throw new Error(`no scenario ${name}; there are: ${Object.keys(scenarios).join(', ')}`);
  console.log(`\n=== ${name}`);
  await scenario();
}
