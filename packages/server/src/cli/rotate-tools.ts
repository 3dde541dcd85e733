import { systemClock } from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource, RemoteKek } from '@teapot-kms/core';
import { readEncryptedResources } from '../rotate/encryption-configuration.ts';
import type { RotationSteps } from '../rotate/perform.ts';
import { rotationSteps } from '../rotate/rotation-steps.ts';
import { withClusterTools } from './cluster-tools.ts';
import type { ClusterOptions } from './cluster-tools.ts';
import { proofsOf, reachableReports } from './evidence.ts';
import type { EvidenceOptions } from './evidence.ts';
import { UsageError } from './exit-codes.ts';
import { instanceOf } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { printError } from './output.ts';
import { runShell } from './shell-command.ts';
import { newProblems } from './steps-output.ts';

export interface RotateTools extends KeyStoreOptions, ClusterOptions, Omit<EvidenceOptions, 'unverified'> {
  readonly provider?: string;
  readonly encryptionConfig?: string;
  readonly distribute?: string;
  readonly olderThan: number;
  readonly settle: number;
}

const DISTRIBUTE_TIMEOUT_MS = 10 * 60_000;

interface Opened {
  readonly store: KeysetSource | RemoteKek;
  readonly admin: KeysetAdmin;
}

/** Runs `work` with the steps of a rotation. Nothing is asked before it is needed: a rotation up to the promotion needs no cluster. */
export function withSteps<T>(
  options: RotateTools,
  { store, admin }: Opened,
  work: (steps: RotationSteps) => Promise<T>,
): Promise<T> {
  return withClusterTools(options, ({ servers, ...cluster }) => {
    const steps = rotationSteps({
      ...cluster,
      admin,
      clock: systemClock,
      tell: printError,
      resources: options.encryptionConfig === undefined ? undefined : readEncryptedResources(options.encryptionConfig),
      renewAfterMs: options.olderThan,
      settleMs: options.settle,
      proofs: () => proofsOf(store),
      reports: reportReader(options),
      servers: () => servers(providerOf(options)),
      distribute: async () => {
        if (options.distribute !== undefined) await runShell(options.distribute, DISTRIBUTE_TIMEOUT_MS);
      },
    });
    return work(steps);
  });
}

/** Asks for the reports of the replicas. It says which cannot be asked, once. */
export function reportReader(options: EvidenceOptions) {
  const say = newProblems();
  return async () => {
    const { problems, ...reports } = await reachableReports(options);
    say(problems.map(({ message }) => message));
    return reports;
  };
}

/** As "config encryption-configuration" names it. */
function providerOf(options: RotateTools): string {
  if (options.provider !== undefined) return options.provider;
  if (options.config !== undefined) return `teapot-${instanceOf(options).name}`;
  throw new UsageError("expected --provider NAME: the KMS provider's name in the EncryptionConfiguration");
}
