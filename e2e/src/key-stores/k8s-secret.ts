import { join } from 'node:path';
import { kubernetesVersions } from '../binaries.ts';
import type { KeyStore, KeyStoreFixture } from '../key-store-fixture.ts';
import { ManagementCluster, readerRules } from '../management-cluster.ts';
import { teapot } from '../teapot-cli.ts';

/** A Secret of a management cluster of its own, changed by nothing but `teapot-kms keys`. */
export const k8sSecretKeyStore: KeyStore = { name: 'k8s-secret', maxOverheadBytes: 160, open };

interface KeysOutput {
  readonly primary: string;
  readonly generated: string;
}

const URI = 'k8s-secret:tenants/main';
const SECRET = '/api/v1/namespaces/tenants/secrets/main';

async function open(): Promise<KeyStoreFixture> {
  const [kubernetes = ''] = kubernetesVersions();
  const cluster = await ManagementCluster.start('key-store', kubernetes);
  await cluster.ensure('/api/v1/namespaces', { metadata: { name: 'tenants' } });
  await cluster.grant('tenants', 'main', readerRules('main'));
  const kubeconfig = join(cluster.directory, 'plugin.kubeconfig');
  cluster.writeKubeconfig(kubeconfig, { token: await cluster.token('tenants', 'main') });
  process.env['KUBECONFIG'] = cluster.adminKubeconfig;
  const keys = async (command: string, ...args: readonly string[]): Promise<KeysOutput> =>
    JSON.parse(await teapot(['keys', command, '--uri', URI, '--output', 'json', ...args])) as KeysOutput;
  await keys('generate');
  const found: Record<string, string> = {};
  const remember = async (): Promise<void> => {
    Object.assign(found, (await cluster.apiserver.client.get(SECRET)).data);
  };
  await remember();
  return {
    keys: { uri: URI, kubeconfig, serves: 'unchecked' },
    primary: async () => (await keys('list')).primary,
    async rotate() {
      const { generated } = await keys('generate');
      await keys('promote', generated, '--unverified');
      await remember();
      return generated;
    },
    async retire(keyId) {
      await keys('retire', keyId, '--unverified');
    },
    async takeAway() {
      await cluster.apiserver.stop();
      return () => cluster.apiserver.start();
    },
    secrets() {
      const blobs = Object.entries(found).filter(([name]) => name.endsWith('.key'));
      return Promise.resolve(blobs.map(([, text]) => Buffer.from(text, 'base64')));
    },
    dispose: () => cluster.close(),
  };
}
