import { safeText, systemClock } from '@teapot-kms/core';
import type { Command } from 'commander';
import type { ScanOptions } from '../inspect/scan.ts';
import type { ScanReport } from '../inspect/scan-report.ts';
import type { TallyRow } from '../inspect/tally.ts';
import { KUBEADM_FILES, withEtcd, withEtcdOptions } from './etcd-options.ts';
import type { EtcdOptions } from './etcd-options.ts';
import { ExitCode } from './exit-codes.ts';
import { rateOf, wholeNumber } from './number-option.ts';
import { writeWhole } from './output-file.ts';
import { outputOption, print, table } from './output.ts';
import type { OutputFormat } from './output.ts';
import { progressLine } from './scan-progress.ts';

interface ScanCommandOptions extends EtcdOptions {
  readonly snapshot?: string;
  readonly etcdPrefix: string;
  readonly only: string;
  readonly pageSize: number;
  /** `Infinity` without a limit. */
  readonly rate: number;
  readonly report?: string;
  readonly output: OutputFormat;
}

const DEFAULT_RATE = 5_000;

export function registerScan(program: Command): void {
  const command = program
    .command('scan')
    .description(
      'Count the objects in etcd, or in a snapshot, by resource, provider and key id: which keys are needed',
    );
  withEtcdOptions(command)
    .option('--snapshot <file>', 'read a file of "etcdctl snapshot save" instead of a running etcd')
    .option('--etcd-prefix <prefix>', "kube-apiserver's prefix in etcd", '/registry')
    .option('--only <path>', 'only keys that begin with this below the prefix, such as secrets/', '')
    .option('--page-size <number>', 'objects of one read', wholeNumber('--page-size', 10_000), 500)
    .option('--rate <number>', 'objects per second at most, or "unlimited"', rateOf('--rate'), DEFAULT_RATE)
    .option('--report <file>', 'also write the JSON to a file, as evidence')
    .addOption(outputOption())
    .addHelpText(
      'after',
      `
Reads only. Exit code 3: some objects cannot be decrypted by any plugin. On a control-plane node of kubeadm:
  teapot-kms scan ${KUBEADM_FILES}`,
    )
    .action(scan);
}

async function scan(options: ScanCommandOptions): Promise<void> {
  const root = `${options.etcdPrefix.replace(/\/+$/, '')}/`;
  const progress = progressLine(systemClock, process.stderr);
  const about = { root, prefix: root + options.only, clock: systemClock, onProgress: progress.show };
  const report = await run(options, about).finally(progress.end);
  const json = JSON.stringify(report);
  if (options.report !== undefined) await writeWhole(options.report, `${json}\n`);
  print(options.output === 'json' ? json : describe(report));
  if (report.rows.some(({ problem }) => problem !== undefined)) process.exitCode = ExitCode.UNHEALTHY;
}

async function run(options: ScanCommandOptions, about: ScanOptions): Promise<ScanReport> {
  const { scanEtcd, scanSnapshot } = await import('../inspect/scan.ts');
  const { snapshot: file, pageSize, rate } = options;
  if (file === undefined) return withEtcd(options, (client) => scanEtcd(client, { ...about, pageSize, rate }));
  const { EtcdSnapshot } = await import('../etcd/snapshot/etcd-snapshot.ts');
  const snapshot = new EtcdSnapshot(file);
  try {
    return scanSnapshot(snapshot, about);
  } finally {
    snapshot.close();
  }
}

function describe({ source, prefix, startedAt, firstRevision, lastRevision, objects, rows }: ScanReport): string {
  const revisions =
    firstRevision === lastRevision ? `revision ${firstRevision}` : `revisions ${firstRevision} to ${lastRevision}`;
  const where =
    source.type === 'etcd'
      ? `cluster ${source.clusterId}, member ${source.memberIds.join(', ')}`
      : `${source.file}, sha256 ${source.sha256}, ${source.verified ? 'checksum right' : 'without a checksum'}`;
  const lines = rows.map((row) => [
    safeText(row.resource, 60),
    row.provider,
    safeText(row.name ?? '-', 60),
    safeText(row.keyId ?? '-', 64),
    String(row.objects),
    String(row.oldestModRevision),
    String(row.newestModRevision),
  ]);
  const head = ['RESOURCE', 'PROVIDER', 'NAME', 'KEY', 'OBJECTS', 'OLDEST', 'NEWEST'];
  const problems = rows.flatMap(problemLine);
  return [
    `${where}, ${revisions}, ${startedAt}`,
    `${objects} objects below ${prefix}`,
    '',
    table([head, ...lines]),
    ...problems,
  ].join('\n');
}

function problemLine({ problem, objects, example }: TallyRow): string[] {
  if (problem === undefined) return [];
  return [`\nPROBLEM  ${objects} objects, the first is ${safeText(example)}: ${safeText(problem)}`];
}
