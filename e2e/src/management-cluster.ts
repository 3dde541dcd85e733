import { sign } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KubeObject } from './api-client.ts';
import { findBinaries } from './binaries.ts';
import type { Binaries } from './binaries.ts';
import { Etcd } from './etcd.ts';
import { KubeApiserver } from './kube-apiserver.ts';
import { untilDefaultNamespace } from './objects.ts';

const LOGS = ['etcd.log', 'management.log'];

/** The cluster whose Secrets hold the keysets: etcd and a kube-apiserver without encryption, with RBAC in force. */
export class ManagementCluster {
  readonly name: string;
  readonly kubernetes: string;
  readonly directory: string;
  readonly binaries: Binaries;
  readonly etcd: Etcd;
  readonly apiserver: KubeApiserver;
  /** The kubeconfig of the administrator that manages the keys. */
  readonly adminKubeconfig: string;

  private constructor(
    name: string,
    kubernetes: string,
    directory: string,
    binaries: Binaries,
    etcd: Etcd,
    apiserver: KubeApiserver,
  ) {
    this.name = name;
    this.kubernetes = kubernetes;
    this.directory = directory;
    this.binaries = binaries;
    this.etcd = etcd;
    this.apiserver = apiserver;
    this.adminKubeconfig = join(directory, 'admin.kubeconfig');
  }

  /**
   * @param name - what its logs are called by
   * @throws MissingBinary
   */
  static async start(name: string, kubernetes: string): Promise<ManagementCluster> {
    const binaries = findBinaries(kubernetes);
    const directory = mkdtempSync(join(tmpdir(), 'teapot-mgmt-'));
    const etcd = await Etcd.start(binaries, directory);
    const apiserver = await KubeApiserver.prepare({
      binary: binaries.kubeApiserver,
      directory,
      etcdUrl: etcd.url,
      etcdPrefix: '/management',
      logFile: join(directory, 'management.log'),
    });
    await apiserver.start();
    await untilDefaultNamespace(apiserver.client);
    const cluster = new ManagementCluster(name, kubernetes, directory, binaries, etcd, apiserver);
    cluster.writeKubeconfig(cluster.adminKubeconfig, { token: 'teapot-e2e' });
    return cluster;
  }

  /** @param user - the `user` of a kubeconfig, such as `{ token }` or `{ tokenFile }` */
  writeKubeconfig(path: string, user: Readonly<Record<string, string>>): void {
    const { url, authority } = this.apiserver;
    const cluster = { server: url, 'certificate-authority-data': authority.toString('base64') };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'management', cluster }],
      users: [{ name: 'user', user }],
      contexts: [{ name: 'default', context: { cluster: 'management', user: 'user' } }],
      'current-context': 'default',
    };
    writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  }

  /** A service account and a role with these rules in a namespace; either may be there already. */
  async grant(namespace: string, account: string, rules: readonly object[]): Promise<void> {
    const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
    const metadata = { name: account };
    await this.ensure(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata });
    await this.ensure(`${rbac}/roles`, { metadata, rules });
    await this.ensure(`${rbac}/rolebindings`, {
      metadata,
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: account },
      subjects: [{ kind: 'ServiceAccount', name: account, namespace }],
    });
  }

  /** A token of a service account as a pod would get it. */
  async token(namespace: string, account: string, seconds = 3_600): Promise<string> {
    const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`;
    const spec = { expirationSeconds: seconds };
    const answer = await this.apiserver.client.create(path, { metadata: { name: account }, spec });
    return (answer['status'] as { token: string }).token;
  }

  /** A token that kube-apiserver refuses after `seconds`. Its API issues no token for less than ten minutes. */
  async expiringToken(namespace: string, account: string, seconds: number): Promise<string> {
    const [header = '', payload = ''] = (await this.token(namespace, account)).split('.');
    // go-jose accepts a token for another minute.
    const exp = Math.floor(Date.now() / 1000) + seconds - 60;
    const claims = { ...(JSON.parse(Buffer.from(payload, 'base64url').toString()) as object), exp };
    const signed = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    const key = readFileSync(join(this.directory, 'service-accounts.key'));
    return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
  }

  /** Creates an object, or replaces the one of its name. */
  async ensure(collection: string, object: KubeObject): Promise<void> {
    const { client } = this.apiserver;
    const { name } = object.metadata;
    await client.create(collection, object).catch(() => client.replace(`${collection}/${name}`, object));
  }

  /** @param keep - leave the directory with the logs, and say where it is */
  async close(keep = false): Promise<void> {
    await this.apiserver.stop();
    await this.etcd.stop();
    this.apiserver.client.close();
    this.#copyLogs(process.env['TEAPOT_TEST_LOG_DIR']);
    if (keep) console.log(`the logs are in ${this.directory}`);
    else rmSync(this.directory, { recursive: true, force: true });
  }

  #copyLogs(directory: string | undefined): void {
    if (directory === undefined || directory === '') return;
    mkdirSync(directory, { recursive: true });
    for (const log of LOGS) {
      const path = join(this.directory, log);
      if (existsSync(path)) copyFileSync(path, join(directory, `${this.name}-${log}`));
    }
  }
}

/** What the plugin may do, and no more: the rules that the guide and `k8s/tenants/rbac.yaml` give. */
export function readerRules(...secrets: readonly string[]): object[] {
  return [{ apiGroups: [''], resources: ['secrets'], resourceNames: secrets, verbs: ['get', 'watch'] }];
}
