// A control-plane node as kubeadm leaves it, without containers: manifests, admin.conf and the ConfigMap kubeadm-config.
import { until } from '@teapot-kms/testing';
import { freePort, launcher } from '@teapot-kms/testing/daemons';
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ApiClient } from './api-client.ts';
import { findBinaries } from './binaries.ts';
import { StaticPods } from './static-pods.ts';

const TOKEN = 'teapot-e2e';

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class KubeadmNode {
  readonly directory: string;
  readonly manifest: string;
  readonly client: ApiClient;
  readonly #pods: StaticPods;

  private constructor(directory: string, port: number, pods: StaticPods) {
    this.directory = directory;
    this.manifest = join(directory, 'kubernetes/manifests/kube-apiserver.yaml');
    this.#pods = pods;
    this.client = new ApiClient({ port, token: TOKEN, ca: () => readFileSync(join(directory, 'certs/apiserver.crt')) });
  }

  /** @throws MissingBinary */
  static async start(directory: string, kubernetes: string, etcdUrl: string): Promise<KubeadmNode> {
    const { kubeApiserver } = findBinaries(kubernetes);
    const port = await freePort();
    const manifests = join(directory, 'kubernetes/manifests');
    mkdirSync(manifests, { recursive: true });
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    });
    const file = (name: string): string => join(directory, name);
    writeFileSync(file('service-accounts.key'), privateKey, { mode: 0o600 });
    writeFileSync(file('tokens.csv'), `${TOKEN},admin,1,"system:masters"\n`, { mode: 0o600 });
    const command = [
      'kube-apiserver',
      '--advertise-address=127.0.0.1',
      '--authorization-mode=RBAC',
      '--bind-address=127.0.0.1',
      `--cert-dir=${file('certs')}`,
      '--disable-admission-plugins=ServiceAccount',
      '--endpoint-reconciler-type=none',
      `--etcd-servers=${etcdUrl}`,
      `--secure-port=${port}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-key-file=${file('service-accounts.key')}`,
      `--service-account-signing-key-file=${file('service-accounts.key')}`,
      '--service-cluster-ip-range=10.0.0.0/24',
      `--token-auth-file=${file('tokens.csv')}`,
    ];
    const container = { command, image: 'kube-apiserver', name: 'kube-apiserver', volumeMounts: [] };
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'kube-apiserver' },
      spec: { containers: [container], volumes: [] },
    };
    writeFileSync(join(manifests, 'kube-apiserver.yaml'), stringify(pod, { indentSeq: false }), { mode: 0o600 });
    const programs = new Map([
      ['kube-apiserver', kubeApiserver],
      ['teapot-kms', launcher()],
    ]);
    const node = new KubeadmNode(directory, port, new StaticPods(manifests, programs, directory));
    try {
      await node.untilReady();
      await node.#makeAdmin(port);
    } catch (error) {
      await node.close();
      throw error;
    }
    return node;
  }

  async untilReady(): Promise<void> {
    await until('kube-apiserver is ready', async () => (await this.client.text('/readyz')).status === 200);
  }

  /** Runs `teapot-kms setup kubeadm` on this node. */
  setup(...args: readonly string[]): Promise<Finished> {
    const place = (name: string): string => join(this.directory, name);
    const own = ['--kubernetes-directory', place('kubernetes'), '--config', place('teapot/config.yaml')];
    const made = ['--uri', `file:${place('keys/main')}`, '--socket', place('run/kms.sock'), '--plugin', 'static-pod'];
    return new Promise((resolve) => {
      execFile(launcher(), ['setup', 'kubeadm', ...own, ...made, ...args], (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });
  }

  async close(): Promise<void> {
    this.client.close();
    await this.#pods.close();
  }

  async #makeAdmin(port: number): Promise<void> {
    const authority = readFileSync(join(this.directory, 'certs/apiserver.crt')).toString('base64');
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'admin',
      contexts: [{ name: 'admin', context: { cluster: 'e2e', user: 'admin' } }],
      clusters: [
        { name: 'e2e', cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': authority } },
      ],
      users: [{ name: 'admin', user: { token: TOKEN } }],
    };
    writeFileSync(join(this.directory, 'kubernetes/admin.conf'), stringify(kubeconfig), { mode: 0o600 });
    const ClusterConfiguration = stringify({
      apiServer: {},
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'ClusterConfiguration',
    });
    const map = { metadata: { name: 'kubeadm-config' }, data: { ClusterConfiguration } };
    await until('kube-system is there', () => this.client.get('/api/v1/namespaces/kube-system').then(() => true));
    await this.client.create('/api/v1/namespaces/kube-system/configmaps', map);
  }
}
