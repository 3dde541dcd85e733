import type { Cluster } from './cluster.ts';
import type { EncryptedResources } from './encryption-configuration.ts';

/** One thing that must hold, tried on a running cluster that it leaves in working order. */
export interface Scenario {
  readonly title: string;
  /** Spends minutes on waiting: in full runs only. */
  readonly takesMinutes?: boolean;
  readonly run: (cluster: Cluster) => Promise<void>;
}

/** Scenarios that share a cluster, in their order. */
export interface ScenarioGroup {
  readonly name: string;
  readonly encrypted: readonly EncryptedResources[];
  readonly featureGates?: readonly string[];
  readonly pluginSettings?: Readonly<Record<string, unknown>>;
  /** The first scenario starts plugin and kube-apiserver itself. */
  readonly startsItself?: boolean;
  readonly scenarios: readonly Scenario[];
}

/** The names of the providers in what the CLI prints for the instance `main`. */
export const V2_PROVIDER = 'teapot-main';
export const V1_PROVIDER = 'teapot-main-v1';

/** kube-apiserver asks the plugin at most this often while all is well (kmsPluginHealthzPositiveTTL), in ms. */
export const HEALTHY_POLL_MS = 20_000;
