import {
  checkHeldByAll,
  checkReadByAll,
  KmsError,
  MAX_REPORT_BYTES,
  parseReport,
  systemClock,
  TokenProofs,
} from '@teapot-kms/core';
import type { Evidence, KeysetSource, RemoteKek, ReplicaReport, StoredManifest } from '@teapot-kms/core';
import type { Command } from 'commander';
import { randomBytes } from 'node:crypto';
import { readInputFile } from '../input-file.ts';
import { UsageError } from './exit-codes.ts';
import { printError } from './output.ts';
import { runShell } from './shell-command.ts';

export interface EvidenceOptions {
  readonly report?: readonly string[];
  readonly fetch?: readonly string[];
  readonly host?: readonly string[];
  readonly replicas?: string;
  readonly unverified?: boolean;
}

/** Time limit in ms for a command that fetches a report, and for the key store. */
const TIMEOUT_MS = 60_000;
/** What may stand in a shell's command, and is no option of ssh. */
const HOST = /^[A-Za-z0-9][A-Za-z0-9._:@-]*$/;

/** Adds the ways to give the reports of the replicas. @param risk - what --unverified risks */
export function withEvidenceOptions(command: Command, risk: string): Command {
  return withReportOptions(command).option('--unverified', `go on without reports: ${risk}`);
}

/** Adds the ways to give reports, where nothing goes on without them. */
export function withReportOptions(command: Command): Command {
  return command
    .option('--replicas <number>', 'how many plugins use this keyset: all of them must report')
    .option('--report <file...>', 'files with their reports, as "teapot-kms status --report" prints them')
    .option(
      '--fetch <command...>',
      'shell commands that print a report, such as "ssh {host} teapot-kms status --report --nonce {nonce}"',
    )
    .option('--host <name...>', 'hosts: a --fetch command with {host} runs for each of them');
}

/**
 * Reads the reports that promote a key.
 * @returns the check for {@link promoteKey}; `undefined` with --unverified
 * @throws {@link UsageError} without any evidence
 */
export async function checkedByReports(store: KeysetSource | RemoteKek, keyId: string, options: EvidenceOptions) {
  const evidence = await evidenceOf(options);
  if (!evidence) return undefined;
  const proofs = await proofsOf(store);
  return (manifest: StoredManifest): void => {
    const proof = proofs.get(keyId);
    if (proof) checkHeldByAll(manifest, keyId, proof, evidence);
    // An id that is not listed gets a better error from the change itself.
    else if (manifest.keys.some(({ id, state }) => id === keyId && state === 'pending')) throw noProof(keyId);
  };
}

/** Like {@link checkedByReports}, for a conversion to another format version. @param proofs - of the keys as the store has them */
export async function readableByReports(
  version: number,
  proofs: Awaited<ReturnType<typeof proofsOf>>,
  options: EvidenceOptions,
) {
  const evidence = await evidenceOf(options);
  return evidence && ((manifest: StoredManifest): void => checkReadByAll(manifest, version, evidence, proofs));
}

/** What proves the keys as the store has them, by key id. */
export async function proofsOf(store: KeysetSource | RemoteKek) {
  const context = { signal: AbortSignal.timeout(TIMEOUT_MS) };
  if ('load' in store) return (await store.load(context)).proofs;
  const proofs = new TokenProofs(store);
  await proofs.verify(await store.describe(context), false, context.signal);
  return proofs.proofs;
}

/** Reads the reports of the replicas; `undefined` with --unverified. @throws {@link UsageError} without --replicas */
export async function evidenceOf(options: EvidenceOptions): Promise<Evidence | undefined> {
  if (options.unverified) {
    printError('WARNING: no replica has proved anything (--unverified)');
    return undefined;
  }
  const { problems, ...evidence } = await reachableReports(options);
  if (problems[0]) throw problems[0];
  return { ...evidence, now: new Date(systemClock.wall()) };
}

/**
 * Reads the reports of the replicas that can be asked.
 * @returns also why others could not be asked
 * @throws {@link UsageError} without --replicas
 */
export async function reachableReports(
  options: EvidenceOptions,
): Promise<Omit<Evidence, 'now'> & { readonly problems: readonly KmsError[] }> {
  const { report = [], replicas } = options;
  const count = Number(replicas);
  if (replicas === undefined || !Number.isInteger(count) || count < 1) {
    throw new UsageError(
      'expected --replicas NUMBER with a report of each (--report FILE, --fetch COMMAND), or --unverified to go on without',
    );
  }
  const commands = commandsOf(options);
  const files = report.map((file) => readReport(file));
  const problems: KmsError[] = [];
  const fetched = await Promise.all(
    commands.map((command) =>
      fetchReport(command).catch((error: unknown) => {
        problems.push(KmsError.from(error, 'ERR_KMS_KEYSET_RULE'));
        return [];
      }),
    ),
  );
  return { reports: [...files, ...fetched.flat()], replicas: count, problems };
}

/** Reads what "status --report" printed. @throws as {@link readInputFile} and `parseReport` */
export const readReport = (file: string): ReplicaReport =>
  parseReport(readInputFile(file, MAX_REPORT_BYTES).toString('utf8'), file);

/** The commands that print reports: one for each host where it has {host}. @throws {@link UsageError} */
function commandsOf({ fetch = [], host = [] }: EvidenceOptions): string[] {
  const wrong = host.find((one) => !HOST.test(one));
  if (wrong !== undefined) throw new UsageError(`--host: expected names of hosts, found ${JSON.stringify(wrong)}`);
  const forHosts = fetch.some((command) => command.includes('{host}'));
  if (forHosts !== host.length > 0)
    throw new UsageError('--host NAME... and {host} in a --fetch COMMAND belong together');
  return fetch.flatMap((command) =>
    command.includes('{host}') ? host.map((one) => command.replaceAll('{host}', one)) : [command],
  );
}

/** With {nonce} in the command, the report cannot be an older one. */
async function fetchReport(command: string): Promise<ReplicaReport> {
  const nonce = randomBytes(16).toString('hex');
  const report = parseReport(await runShell(command.replaceAll('{nonce}', nonce), TIMEOUT_MS), command);
  if (!command.includes('{nonce}') || report.nonce === nonce) return report;
  throw new KmsError('ERR_KMS_KEYSET_RULE', `${command}: the report does not contain the nonce that was asked for`);
}

function noProof(keyId: string): KmsError {
  return new KmsError('ERR_KMS_KEYSET_RULE', `the key store does not show that it has key ${keyId}`, {
    remedy:
      'look with "teapot-kms doctor"; a key of a token in a keyset of version 1 has no check key: "teapot-kms keys convert"',
  });
}
