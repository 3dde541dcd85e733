import { fullRun } from '@teapot-kms/testing';
import { suite } from 'uvu';
import { findBinaries, kubernetesVersions, MissingBinary } from './binaries.ts';
import type { KeyStore } from './key-store-fixture.ts';
import { registerScenarios } from './register-scenarios.ts';
import type { ScenarioGroup } from './scenario.ts';

/** What a test file calls: a group of scenarios on each version of Kubernetes, or a `SKIPPED` line that says what is missing. */
export function runGroup(group: ScenarioGroup, keyStore: KeyStore): void {
  for (const kubernetes of kubernetesVersions()) {
    const what = `${group.name} on Kubernetes ${kubernetes}, keys in ${keyStore.name}`;
    const missing = keyStore.missing?.();
    if (missing !== undefined) {
      console.log(`SKIPPED ${what}: ${missing}`);
      continue;
    }
    try {
      findBinaries(kubernetes);
    } catch (error) {
      if (!(error instanceof MissingBinary)) throw error;
      console.log(`SKIPPED ${what}: ${error.message}`);
      continue;
    }
    for (const { title, takesMinutes = false } of group.scenarios) {
      if (takesMinutes && !fullRun) console.log(`only with TEAPOT_TEST_FULL=1, as it takes minutes: ${title}`);
    }
    const test = suite(what);
    registerScenarios(test, group, keyStore, { kubernetes, which: fullRun ? 'all' : 'main' });
    test.run();
  }
}
