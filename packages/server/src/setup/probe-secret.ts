import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import type { KubeApi } from './kube-api.ts';

type Api = Pick<KubeApi, 'object' | 'remove' | 'metrics'>;

const SECRETS = '/api/v1/namespaces/kube-system/secrets';
const LABEL = 'app.kubernetes.io/managed-by';
const OWNER = 'teapot-kms-setup';

/** Reads the value of a key of etcd. `null`: etcd cannot be read. */
export type ReadEtcd = (key: string) => Promise<Buffer | undefined | null>;

/** How a value begins that a provider has written. */
export const prefixOf = (provider: string): string => `k8s:enc:kms:v2:${provider}:`;

/**
 * Creates a Secret through one kube-apiserver, and looks whether this provider has written it: in etcd, or where etcd cannot be read, in that
 * kube-apiserver's metrics. Then the Secret goes again, and those of runs that died go too.
 * @param root - kube-apiserver's `--etcd-prefix` with a slash at its end
 */
export async function writesThrough(
  api: Api,
  { provider, root, readEtcd }: { provider: string; root: string; readEtcd: ReadEtcd },
): Promise<boolean> {
  const name = `${OWNER}-${randomBytes(6).toString('hex')}`;
  const metadata = { name, namespace: 'kube-system', labels: { [LABEL]: OWNER } };
  const before = await writesOf(api, provider);
  try {
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata, stringData: { probe: 'probe' } };
    await api.object('POST', SECRETS, z.unknown(), secret);
    const value = await readEtcd(`${root}secrets/kube-system/${name}`);
    if (value === null) return (await writesOf(api, provider)) > before;
    if (value === undefined) throw new Error(`etcd has no Secret ${name}: is it the etcd of this kube-apiserver?`);
    return value.subarray(0, prefixOf(provider).length).equals(Buffer.from(prefixOf(provider)));
  } finally {
    await api.remove(`${SECRETS}?labelSelector=${encodeURIComponent(`${LABEL}=${OWNER}`)}`).catch(() => undefined);
  }
}

/** Values that a kube-apiserver has written with a provider since its start. */
async function writesOf(api: Api, provider: string): Promise<number> {
  const text = await api.metrics(
    (line) =>
      line.startsWith('apiserver_storage_transformation_operations_total{') &&
      line.includes(`transformer_prefix="${prefixOf(provider)}"`) &&
      line.includes('transformation_type="to_storage"') &&
      line.includes('status="OK"'),
  );
  const lines = text.trim() === '' ? [] : text.trim().split('\n');
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}
