import { ApiServer, SharedResources, systemClock } from '@teapot-kms/core';
import type { Command } from 'commander';
import { scanEtcd } from '../inspect/scan.ts';
import type { ScanReport } from '../inspect/scan-report.ts';
import type { Api } from '../kubernetes/answers.ts';
import { liveServers } from '../rotate/live-servers.ts';
import type { ServerView } from '../rotate/plan.ts';
import type { RewriteOptions } from '../rotate/rewrite.ts';
import { checkSameCluster } from '../rotate/same-cluster.ts';
import { withEtcd } from './etcd-options.ts';
import type { EtcdOptions } from './etcd-options.ts';
import { rateOf } from './number-option.ts';
import { progressLine } from './scan-progress.ts';
import { newProblems } from './steps-output.ts';

export interface ClusterOptions extends EtcdOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly apiserver?: readonly string[];
  readonly etcdPrefix: string;
  readonly rewriteRate: number;
  readonly scanRate: number;
}

/** A cluster whose data is looked at and written again. */
export interface ClusterTools {
  readonly api: Api;
  /** Every live kube-apiserver. @param provider - as for {@link liveServers} */
  readonly servers: (provider: string | undefined) => Promise<readonly ServerView[]>;
  readonly scan: () => Promise<ScanReport>;
  /** For one resource. `end` ends its progress. */
  readonly rewriting: () => RewriteOptions & { readonly end: () => void };
}

const PAGE_SIZE = 500;

/** Adds the ways to reach a cluster and its data, beside etcd's own options. */
export function withClusterOptions(command: Command): Command {
  return command
    .option('--kubeconfig <file>', 'of an administrator of the cluster. Default: what kubectl takes')
    .option('--context <name>', 'a context of the kubeconfig. Default: its current one')
    .option('--apiserver <url...>', 'every kube-apiserver itself, where the kubeconfig names a load balancer')
    .option(
      '--rewrite-rate <number>',
      'objects written per second at most, or "unlimited"',
      rateOf('--rewrite-rate'),
      200,
    )
    .option('--scan-rate <number>', 'objects scanned per second at most, or "unlimited"', rateOf('--scan-rate'), 5_000)
    .option('--etcd-prefix <prefix>', "kube-apiserver's prefix in etcd", '/registry');
}

/** kube-apiserver's `--etcd-prefix` with a slash at its end. */
const rootOf = ({ etcdPrefix }: ClusterOptions): string => `${etcdPrefix.replace(/\/+$/, '')}/`;

/** Runs `work` on a cluster. Nothing is asked before it is needed. */
export async function withClusterTools<T>(
  options: ClusterOptions,
  work: (tools: ClusterTools) => Promise<T>,
): Promise<T> {
  const opened: ApiServer[] = [];
  const shared = new SharedResources();
  const open = (server?: string): ApiServer => {
    const { kubeconfig, context } = options;
    const one = new ApiServer({ kubeconfig, context, server }, shared);
    opened.push(one);
    return one;
  };
  const say = newProblems();
  const server = open();
  const api = { server, clock: systemClock };
  const { apiserver = ['the API server of the kubeconfig'] } = options;
  const readers = new Map(apiserver.map((url) => [url, options.apiserver ? open(url) : server]));
  try {
    return await work({
      api,
      async servers(provider) {
        const { views, problems } = await liveServers(api, readers, provider);
        say(problems);
        return views;
      },
      scan: () => scan(options, api),
      rewriting() {
        const { show, end } = progressLine(systemClock, process.stderr);
        return { rate: options.rewriteRate, onProgress: show, end };
      },
    });
  } finally {
    for (const one of opened) one.close();
  }
}

function scan(options: ClusterOptions, api: Api): Promise<ScanReport> {
  const root = rootOf(options);
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
