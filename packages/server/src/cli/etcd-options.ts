import { systemClock } from '@teapot-kms/core';
import type { Command } from 'commander';
import type { EtcdClient, EtcdTls } from '../etcd/client.ts';
import { readInputFile } from '../input-file.ts';
import { UsageError } from './exit-codes.ts';

export interface EtcdOptions {
  readonly etcdServers: string;
  readonly etcdCafile?: string;
  readonly etcdCertfile?: string;
  readonly etcdKeyfile?: string;
}

/** Longest file of a certificate or key, in bytes. */
const MAX_PEM_BYTES = 1024 * 1024;
const DEFAULT_SERVERS = 'https://127.0.0.1:2379';

/** Adds kube-apiserver's own flags for etcd, so that they can be copied from its manifest. */
export function withEtcdOptions(command: Command): Command {
  return command
    .option('--etcd-servers <urls>', 'members of etcd, with commas between, as for kube-apiserver', DEFAULT_SERVERS)
    .option('--etcd-cafile <file>', 'the CA of their certificates')
    .option('--etcd-certfile <file>', 'client certificate')
    .option('--etcd-keyfile <file>', 'its private key');
}

/** Where kubeadm keeps the files. */
export const KUBEADM_FILES = `--etcd-cafile /etc/kubernetes/pki/etcd/ca.crt \\
    --etcd-certfile /etc/kubernetes/pki/apiserver-etcd-client.crt --etcd-keyfile /etc/kubernetes/pki/apiserver-etcd-client.key`;

/** Runs `work` with a client, then closes it. */
export async function withEtcd<T>(options: EtcdOptions, work: (client: EtcdClient) => Promise<T>): Promise<T> {
  const servers = serversOf(options.etcdServers);
  const tls = tlsOf(options);
  // 10 MB of memory that no other command needs.
  const { EtcdClient } = await import('../etcd/client.ts');
  const client = new EtcdClient({ servers, tls, clock: systemClock });
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** @throws {@link UsageError} for anything but URLs of servers */
export function serversOf(list: string): URL[] {
  return list.split(',').map((text) => {
    const url = URL.parse(text.trim());
    if (url && /^https?:$/.test(url.protocol) && url.hostname !== '' && url.href === `${url.origin}/`) return url;
    throw new UsageError(`--etcd-servers: expected URLs such as ${DEFAULT_SERVERS}, found ${JSON.stringify(text)}`);
  });
}

/** @throws {@link UsageError}, and as {@link readInputFile} */
export function tlsOf({ etcdCafile, etcdCertfile, etcdKeyfile }: EtcdOptions): EtcdTls {
  if ((etcdCertfile === undefined) !== (etcdKeyfile === undefined)) {
    throw new UsageError('--etcd-certfile and --etcd-keyfile belong together');
  }
  return {
    ...(etcdCafile !== undefined && { ca: readInputFile(etcdCafile, MAX_PEM_BYTES) }),
    ...(etcdCertfile !== undefined && { cert: readInputFile(etcdCertfile, MAX_PEM_BYTES) }),
    ...(etcdKeyfile !== undefined && { key: readInputFile(etcdKeyfile, MAX_PEM_BYTES) }),
  };
}
