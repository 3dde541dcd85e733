import { writeFileSync } from 'node:fs';
import type { KubeApiserver } from './kube-apiserver.ts';

/**
 * Writes a kubeconfig that names the first server and trusts all of them.
 * @param token - default: that of an administrator
 */
export function writeKubeconfig(file: string, servers: readonly KubeApiserver[], token?: string): string {
  const [first] = servers;
  const authorities = Buffer.concat(servers.map(({ authority }) => authority)).toString('base64');
  const config = {
    clusters: [{ name: 'c', cluster: { server: first!.url, 'certificate-authority-data': authorities } }],
    users: [{ name: 'u', user: { token: token ?? first!.token } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}
