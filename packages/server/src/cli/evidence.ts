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
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { readInputFile } from '../input-file.ts';
import { UsageError } from './exit-codes.ts';
import { printError } from './output.ts';

export interface EvidenceOptions {
  readonly report?: readonly string[];
  readonly fetch?: readonly string[];
  readonly replicas?: string;
  readonly unverified?: boolean;
}

/** Time limit in ms for a command that fetches a report, and for the key store. */
const TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

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
      'shell commands that print a report, such as "ssh node-2 teapot-kms status --report"',
    );
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

/** Like {@link checkedByReports}, for a conversion to another format version. */
export async function readableByReports(version: number, options: EvidenceOptions) {
  const evidence = await evidenceOf(options);
  return evidence && ((manifest: StoredManifest): void => checkReadByAll(manifest, version, evidence));
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
export async function evidenceOf({
  report = [],
  fetch = [],
  replicas,
  unverified,
}: EvidenceOptions): Promise<Evidence | undefined> {
  if (unverified) {
    printError('WARNING: no replica has proved anything (--unverified)');
    return undefined;
  }
  const count = Number(replicas);
  if (replicas === undefined || !Number.isInteger(count) || count < 1) {
    throw new UsageError(
      'expected --replicas NUMBER with a report of each (--report FILE, --fetch COMMAND), or --unverified to go on without',
    );
  }
  const files = report.map((file) => readReport(file));
  const fetched = await Promise.all(fetch.map(async (command) => parseReport(await outputOf(command), command)));
  return { reports: [...files, ...fetched], replicas: count, now: new Date(systemClock.wall()) };
}

/** Reads what "status --report" printed. @throws as {@link readInputFile} and `parseReport` */
export const readReport = (file: string): ReplicaReport =>
  parseReport(readInputFile(file, MAX_REPORT_BYTES).toString('utf8'), file);

async function outputOf(command: string): Promise<string> {
  try {
    const limits = { timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES };
    return (await promisify(execFile)('/bin/sh', ['-c', command], limits)).stdout;
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    throw new KmsError('ERR_KMS_KEYSET_RULE', `${command}: ${stderr.trim() || message}`, { cause: error });
  }
}

function noProof(keyId: string): KmsError {
  return new KmsError('ERR_KMS_KEYSET_RULE', `the key store does not show that it has key ${keyId}`, {
    remedy:
      'look with "teapot-kms doctor"; a key of a token in a keyset of version 1 has no check key: "teapot-kms keys convert"',
  });
}
