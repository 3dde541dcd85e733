import { ApiServer, SharedResources, systemClock } from '@teapot-kms/core';
import type { KeysetAdmin, KeysetSource, RemoteKek } from '@teapot-kms/core';
import { scanEtcd } from '../inspect/scan.ts';
import type { ScanReport } from '../inspect/scan-report.ts';
import type { Api } from '../kubernetes/answers.ts';
import { readEncryptedResources } from '../rotate/encryption-configuration.ts';
import { liveServers } from '../rotate/live-servers.ts';
import type { ServerView } from '../rotate/plan.ts';
import type { RotationSteps } from '../rotate/perform.ts';
import { rotationSteps } from '../rotate/rotation-steps.ts';
import type { RotationTools } from '../rotate/rotation-steps.ts';
import { checkSameCluster } from '../rotate/same-cluster.ts';
import { withEtcd } from './etcd-options.ts';
import type { EtcdOptions } from './etcd-options.ts';
import { proofsOf, reachableReports } from './evidence.ts';
import type { EvidenceOptions } from './evidence.ts';
import { UsageError } from './exit-codes.ts';
import { instanceOf } from './key-store.ts';
import type { KeyStoreOptions } from './key-store.ts';
import { printError } from './output.ts';
import { progressLine } from './scan-progress.ts';
import { runShell } from './shell-command.ts';

export interface RotateTools extends KeyStoreOptions, EtcdOptions, Omit<EvidenceOptions, 'unverified'> {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly apiserver?: readonly string[];
  readonly provider?: string;
  readonly encryptionConfig?: string;
  readonly etcdPrefix: string;
  readonly distribute?: string;
  readonly rewriteRate: number;
  readonly scanRate: number;
  readonly olderThan: number;
  readonly settle: number;
}

const PAGE_SIZE = 500;
const DISTRIBUTE_TIMEOUT_MS = 10 * 60_000;

interface Opened {
  readonly store: KeysetSource | RemoteKek;
  readonly admin: KeysetAdmin;
}

/** Runs `work` with the steps of a rotation. Nothing is asked before it is needed: a rotation up to the promotion needs no cluster. */
export async function withSteps<T>(
  options: RotateTools,
  { store, admin }: Opened,
  work: (steps: RotationSteps) => Promise<T>,
): Promise<T> {
  const opened: ApiServer[] = [];
  const shared = new SharedResources();
  const open = (server?: string): ApiServer => {
    const { kubeconfig, context } = options;
    const one = new ApiServer({ kubeconfig, context, server }, shared);
    opened.push(one);
    return one;
  };
  const server = open();
  const api = { server, clock: systemClock };
  const { apiserver = ['the API server of the kubeconfig'] } = options;
  const readers = new Map(apiserver.map((url) => [url, options.apiserver ? open(url) : server]));
  const tools: RotationTools = {
    admin,
    api,
    clock: systemClock,
    tell: printError,
    resources: options.encryptionConfig === undefined ? undefined : readEncryptedResources(options.encryptionConfig),
    renewAfterMs: options.olderThan,
    settleMs: options.settle,
    proofs: () => proofsOf(store),
    async reports() {
      const { problems, ...reports } = await reachableReports(options);
      for (const { message } of problems) printError(message);
      return reports;
    },
    servers: () => serversOf(api, readers, providerOf(options)),
    distribute: async () => {
      if (options.distribute !== undefined) await runShell(options.distribute, DISTRIBUTE_TIMEOUT_MS);
    },
    scan: () => scan(options, api),
    rewriting() {
      const { show, end } = progressLine(systemClock, process.stderr);
      return { rate: options.rewriteRate, onProgress: show, end };
    },
  };
  try {
    return await work(rotationSteps(tools));
  } finally {
    for (const one of opened) one.close();
  }
}

async function serversOf(
  api: Api,
  readers: ReadonlyMap<string, ApiServer>,
  provider: string,
): Promise<readonly ServerView[]> {
  const { views, problems } = await liveServers(api, readers, provider);
  for (const problem of problems) printError(problem);
  return views;
}

/** As "config encryption-configuration" names it. */
function providerOf(options: RotateTools): string {
  if (options.provider !== undefined) return options.provider;
  if (options.config !== undefined) return `teapot-${instanceOf(options).name}`;
  throw new UsageError("expected --provider NAME: the KMS provider's name in the EncryptionConfiguration");
}

function scan(options: RotateTools, api: Api): Promise<ScanReport> {
  const root = `${options.etcdPrefix.replace(/\/+$/, '')}/`;
  const { show, end } = progressLine(systemClock, process.stderr);
  const about = {
    root,
    prefix: root,
    clock: systemClock,
    onProgress: show,
    pageSize: PAGE_SIZE,
    rate: options.scanRate,
  };
  return withEtcd(options, async (client) => {
    await checkSameCluster(api, client, root);
    return scanEtcd(client, about);
  }).finally(end);
}
