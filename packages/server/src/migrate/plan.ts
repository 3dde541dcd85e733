import { checkReadByAll, KmsError } from '@teapot-kms/core';
import type { Evidence, StoredManifest } from '@teapot-kms/core';
import { waitsForServers } from '../rotate/plan.ts';
import type { ServerView } from '../rotate/plan.ts';
import type { Remainder } from '../rotate/remainder.ts';
import { OLD_SEED_MS } from '../rotate/scan-evidence.ts';
import type { EncryptionOrder } from './encryption-order.ts';

/** `configure`: the next EncryptionConfiguration. `drop-stores`: nothing needs the former key stores. */
export type MigrationStep =
  | 'wait-for-replicas'
  | 'wait-for-configuration'
  | 'configure'
  | 'wait-for-servers'
  | 'scan'
  | 'rewrite'
  | 'drop-stores'
  | 'done';

export interface MigrationInput {
  /** Of the file that kube-apiserver reads on this host. */
  readonly order: EncryptionOrder;
  /** Where that file is. */
  readonly file: string;
  /** The keyset that encrypts, and what its replicas report. `undefined`: data is to be in plain text. */
  readonly keyset: { readonly manifest: StoredManifest | undefined; readonly replicas: Evidence } | undefined;
  /** URIs of the stores that only decrypt. */
  readonly formers: readonly string[];
  readonly servers: readonly ServerView[];
  /** How long in ms this process has seen every kube-apiserver with this configuration. */
  readonly loadedForMs: number;
  /** Whether an operator says that every kube-apiserver has loaded it. It counts for those that do not show it themselves. */
  readonly loaded: boolean;
  /** What the last scan of this run found elsewhere. `undefined`: there was none yet. */
  readonly left: Remainder | undefined;
  /** How long in ms kube-apiserver must have used only the target. Default and least: what an old seed may be used for. */
  readonly settleMs?: number;
}

export interface MigrationPlan {
  readonly step: MigrationStep;
  readonly reason: string;
  readonly remedy: string;
}

/** Returns the next step of a migration. It has no memory: after an interruption, it is called again with what is there then. */
export function planMigration(input: MigrationInput): MigrationPlan {
  const { order, keyset, left, formers } = input;
  const doubt = keyset && waitsForReplicas(keyset);
  if (doubt) return doubt;
  const unloaded = waitsForConfiguration(input);
  if (unloaded) return unloaded;
  if (!order.writes) return configure(input);
  const waiting = waitsForWrites(input);
  if (waiting) return waiting;
  if (!left) {
    return { step: 'scan', reason: 'nobody has looked which objects are where they belong', remedy: 'scan' };
  }
  if (left.objects > 0) {
    return { step: 'rewrite', reason: left.found, remedy: 'rewrite these objects, and scan again' };
  }
  if (order.next) return configure(input);
  if (formers.length > 0) {
    return {
      step: 'drop-stores',
      reason: `no object needs ${formers.join(', ')}`,
      remedy:
        'remove decryptOnly from the configuration of the plugin on every node (it is loaded at once), and keep a backup of these stores for as long as you keep backups of etcd',
    };
  }
  const remedy =
    'nothing; keep the old keys, and the EncryptionConfiguration before, for as long as you keep backups of etcd';
  return { step: 'done', reason: 'all data is where it belongs', remedy };
}

function configure({ order, file }: MigrationInput): MigrationPlan {
  const reason = `the next EncryptionConfiguration: ${order.next!.change}`;
  return { step: 'configure', reason, remedy: `put it in the place of ${file} on every control-plane node` };
}

const NO_KEYSET = 'mount its volume, or restore it; for a key store that never had one: teapot-kms keys generate';

/** Every plugin must have the keyset that encrypts: a kube-apiserver may write through any. */
function waitsForReplicas({ manifest, replicas }: NonNullable<MigrationInput['keyset']>): MigrationPlan | undefined {
  if (!manifest) {
    return { step: 'wait-for-replicas', reason: 'there is no keyset', remedy: NO_KEYSET };
  }
  try {
    checkReadByAll(manifest, manifest.formatVersion, replicas);
    return undefined;
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    return { step: 'wait-for-replicas', reason: error.message, remedy: error.remedy ?? '' };
  }
}

const LOADING =
  'wait a minute; then look whether the file is the same on its host, and at its log. Without --encryption-provider-config-automatic-reload it must be started again';

/** Whether a kube-apiserver has loaded the configuration. */
export const hasLoaded = (
  { configHash }: ServerView,
  { order, loaded }: Pick<MigrationInput, 'order' | 'loaded'>,
): boolean => configHash === order.hash || (configHash === undefined && loaded);

function waitsForConfiguration(input: MigrationInput): MigrationPlan | undefined {
  const { servers } = input;
  const late = servers.flatMap((one) => {
    const { server, configHash } = one;
    if (hasLoaded(one, input)) return [];
    return configHash === undefined
      ? [`kube-apiserver ${server} does not show which EncryptionConfiguration it has loaded`]
      : [`kube-apiserver ${server} has loaded another EncryptionConfiguration`];
  });
  if (servers.length > 0 && late.length === 0) return undefined;
  const silent = servers.some(({ configHash }) => configHash === undefined);
  const remedy = silent
    ? 'name the URL of each kube-apiserver with --apiserver. Kubernetes before 1.34 does not show it: start each kube-apiserver again, and say so with --configuration-loaded'
    : LOADING;
  const reason = late.join('\n') || 'no kube-apiserver has been looked at';
  return { step: 'wait-for-configuration', reason, remedy };
}

/** What was begun with the configuration before may still be written, and with an older key for as long as its seed lives. */
function waitsForWrites(input: MigrationInput): MigrationPlan | undefined {
  const { keyset, servers, loadedForMs, settleMs = OLD_SEED_MS } = input;
  const late = keyset && waitsForServers({ servers, settleMs }, keyset.manifest!);
  if (late || loadedForMs >= settleMs) return late;
  const [since, least] = [loadedForMs, settleMs].map((ms) => Math.floor(ms / 1000));
  const reason = `every kube-apiserver has this configuration since ${since} s, as far as this run has seen, and must for ${least} s`;
  return { step: 'wait-for-servers', reason, remedy: 'wait' };
}
