import { say } from '@teapot-kms/testing';
import type { Test } from 'uvu';
import { Cluster } from './cluster.ts';
import type { KeyStore } from './key-store-fixture.ts';
import type { ScenarioGroup } from './scenario.ts';
import { noSecretInLogs } from './scenarios/logs.ts';

export interface RegisterOptions {
  readonly kubernetes: string;
  /** `main`: without the scenarios that wait for minutes. */
  readonly which: 'main' | 'all';
}

/** Makes a test of each scenario of a group, on one cluster of its own, with the keys in this kind of store. */
export function registerScenarios(
  test: Test,
  group: ScenarioGroup,
  keyStore: KeyStore,
  { kubernetes, which }: RegisterOptions,
): void {
  let cluster: Cluster | undefined;
  let failed = false;

  // uvu swallows the error of a hook; so each test makes sure of the cluster itself.
  async function ready(): Promise<Cluster> {
    if (cluster) return cluster;
    const { name, encrypted, featureGates = [], pluginSettings = {} } = group;
    cluster = await Cluster.create({
      name: `${name}-${keyStore.name}-${kubernetes}`,
      kubernetes,
      keyStore,
      encrypted,
      featureGates,
      pluginSettings,
    });
    if (group.startsItself !== true) await cluster.start();
    return cluster;
  }

  const scenarios = group.scenarios.filter(({ takesMinutes = false }) => which === 'all' || !takesMinutes);
  for (const { title, run } of [...scenarios, noSecretInLogs]) {
    test(title, async () => {
      const started = performance.now();
      try {
        await run(await ready());
        say(`${title}: ${((performance.now() - started) / 1000).toFixed(1)} s`);
      } catch (error) {
        failed = true;
        throw error;
      }
    });
  }
  test.after(() => cluster?.close(failed));
}
