import { isAbsolute } from 'node:path';
import * as z from 'zod';
import type { KeysetProvider } from '../../keyset/keyset-source.ts';
import { ApiServer } from './api-server.ts';
import { UNCHECKED } from './guard.ts';
import { parseSecretUri } from './secret-name.ts';
import { SecretSource } from './secret-source.ts';

const settings = z.strictObject({
  kubeconfig: z
    .string()
    .refine(isAbsolute, 'expected an absolute path')
    .optional()
    .describe('how to reach the API; default: what kubectl takes (KUBECONFIG, ~/.kube/config, the service account)'),
  context: z.string().min(1).optional().describe('a context of the kubeconfig; default: its current one'),
  serves: z
    .string()
    .refine(
      (text) => text === UNCHECKED || /^sha256:[0-9a-f]{64}$/.test(text),
      `expected sha256: and 64 hexadecimal digits, or ${UNCHECKED}`,
    )
    .describe(
      "sha256 of the public key of the CA of the cluster that this instance serves, as kubeadm's --discovery-token-ca-cert-hash: a Secret of that very cluster is refused",
    ),
});

/** `k8s-secret:namespace/name`: a keyset in a Secret of another cluster than the served one (ADR 0013). */
export const k8sSecretProvider: KeysetProvider<typeof settings> = {
  kind: 'keyset',
  scheme: 'k8s-secret',
  settings,
  check: (uri) => void parseSecretUri(uri),
  open(uri, { kubeconfig, context, serves }, shared) {
    return new SecretSource(parseSecretUri(uri), serves, ApiServer.acquire(shared, { kubeconfig, context }));
  },
};
