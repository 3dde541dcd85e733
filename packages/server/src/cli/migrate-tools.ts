import { systemClock } from '@teapot-kms/core';
import { readInputFile } from '../input-file.ts';
import { prefixesOf } from '../inspect/resource.ts';
import type { ScanReport } from '../inspect/scan-report.ts';
import type { TallyRow } from '../inspect/tally.ts';
import { encryptionOrder } from '../migrate/encryption-order.ts';
import type { EncryptionOrder, Target } from '../migrate/encryption-order.ts';
import type { MigrationSteps, Seen } from '../migrate/perform.ts';
import { remainderOf } from '../rotate/remainder.ts';
import { rewriteAll } from '../rotate/rotation-steps.ts';
import { withClusterTools } from './cluster-tools.ts';
import type { ClusterOptions } from './cluster-tools.ts';
import type { EvidenceOptions } from './evidence.ts';
import { UsageError } from './exit-codes.ts';
import { instanceOf, withStore } from './key-store.ts';
import { writeWhole } from './output-file.ts';
import { printError } from './output.ts';
import { reportReader } from './rotate-tools.ts';
import { runShell } from './shell-command.ts';

export interface MigrateTools extends ClusterOptions, Omit<EvidenceOptions, 'unverified'> {
  readonly to: Target;
  readonly config: string;
  readonly instance?: string;
  readonly encryptionConfig: string;
  readonly provider?: string;
  readonly resource: readonly string[];
  readonly write?: string;
  readonly install?: string;
  readonly configurationLoaded?: boolean;
  readonly settle: number;
}

/** Longest EncryptionConfiguration that is read, in bytes. */
const MAX_BYTES = 1024 * 1024;
const INSTALL_TIMEOUT_MS = 10 * 60_000;

/** Runs `work` with the steps of a migration. */
export function withMigrationSteps<T>(options: MigrateTools, work: (steps: MigrationSteps) => Promise<T>): Promise<T> {
  const { to: target, resource: resources, encryptionConfig: file } = options;
  const { name, socket, decryptOnly } = instanceOf(options);
  const provider = { name: options.provider ?? `teapot-${name}`, socket };
  const order = (): EncryptionOrder => encryptionOrder(textOf(file), file, { target, provider, resources });
  const reports = reportReader(options);
  // What an operator says is about the file that is there now.
  const loaded = options.configurationLoaded ? order().hash : undefined;
  const keysetOf = () =>
    withStore(options, async ({ admin }) => ({
      manifest: (await admin.readManifest())?.manifest,
      replicas: { ...(await reports()), now: new Date(systemClock.wall()) },
    }));
  return withClusterTools(options, (cluster) =>
    work({
      async look() {
        const now = order();
        const named = target === 'teapot' && now.writes ? provider.name : undefined;
        return {
          order: now,
          file,
          keyset: target === 'teapot' ? await keysetOf() : undefined,
          formers: target === 'teapot' ? decryptOnly.map(({ uri }) => uri) : [],
          servers: await cluster.servers(named),
          loaded: now.hash === loaded,
          settleMs: options.settle,
        };
      },
      configure: async (text) => install(text, options),
      scan: cluster.scan,
      remainder: (scan, seen) => remainderOf(rowsElsewhere(scan, seen, { target, provider: provider.name })),
      async rewrite(found) {
        for (const one of found) await rewriteAll({ ...cluster, tell: printError }, one);
      },
    }),
  );
}

function textOf(file: string): string {
  const bytes = readInputFile(file, MAX_BYTES);
  try {
    return bytes.toString('utf8');
  } finally {
    bytes.fill(0);
  }
}

/** @returns whether kube-apiserver's file is the wanted one now */
async function install(text: string, { write, install: command, encryptionConfig }: MigrateTools): Promise<boolean> {
  if (write === undefined) return false;
  await writeWhole(write, text);
  printError(`wrote ${write}`);
  if (command === undefined) return false;
  await runShell(command, INSTALL_TIMEOUT_MS);
  if (textOf(encryptionConfig) === text) return true;
  throw new UsageError(`--install: the command has not put ${write} in the place of ${encryptionConfig} on this host`);
}

/** What a scan has found of the encrypted resources, and is not where it is to be. */
export function rowsElsewhere(
  { rows, root }: Pick<ScanReport, 'rows' | 'root'>,
  { order, keyset }: Pick<Seen, 'order' | 'keyset'>,
  { target, provider }: { readonly target: Target; readonly provider: string },
): readonly TallyRow[] {
  const prefixes = order.resources.flatMap((resource) => prefixesOf(resource, root));
  const primary = keyset?.manifest?.primary;
  const isThere = (row: TallyRow): boolean =>
    target === 'identity'
      ? row.provider === 'identity'
      : row.provider === 'kms:v2' && row.name === provider && row.keyId === primary;
  return rows.filter((row) => prefixes.some((prefix) => row.example.startsWith(prefix)) && !isThere(row));
}
