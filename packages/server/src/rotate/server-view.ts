import { KmsError } from '@teapot-kms/core';
import type { ServerView } from './plan.ts';

const METRIC = 'apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds';
const START = 'process_start_time_seconds';
/** Since Kubernetes 1.34, at the start and at each reload: the SHA-256 of the file (k8s.io/apiserver encryptionconfig/metrics). */
const CONFIGURATION = 'apiserver_encryption_config_controller_last_config_info';

/** Whether a line of metrics is of interest to {@link serverView}. */
export const isMetricOfKeys = (line: string): boolean =>
  [METRIC, START, CONFIGURATION].some((name) => line.startsWith(name));

/**
 * Returns what a kube-apiserver's metrics say of its key: which hash its last Status had, and for how long there was no other. Only its own clock
 * counts.
 * @param provider - the KMS provider's name in the EncryptionConfiguration; `undefined` where it may use none
 * @param where - what an error names: the file
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST` if the metrics have nothing of this provider
 */
export function serverView(metrics: string, provider: string | undefined, where: string): ServerView {
  let [started, server] = [0, where];
  let configHash: string | undefined;
  const seen: { readonly hash: string; readonly at: number }[] = [];
  for (const line of metrics.split('\n')) {
    const [, name, labels = '', value] = /^([a-z_]+)(?:\{([^}]*)\})? ([0-9.e+]+)$/.exec(line) ?? [];
    const at = Number(value);
    if (name === START) started = at;
    if (name === CONFIGURATION && at === 1) {
      configHash = labelOf(labels, 'hash');
      server = labelOf(labels, 'apiserver_id_hash') || where;
    }
    if (name !== METRIC || labelOf(labels, 'provider_name') !== provider || !Number.isFinite(at)) continue;
    seen.push({ hash: labelOf(labels, 'key_id_hash') ?? '', at });
    server = labelOf(labels, 'apiserver_id_hash') || where;
  }
  seen.sort((a, b) => b.at - a.at);
  const [last, before] = seen;
  if (started === 0 || (!last && provider !== undefined)) {
    throw new KmsError(
      'ERR_KMS_INVALID_REQUEST',
      `${where}: not the metrics of a kube-apiserver${provider === undefined ? '' : ` with provider ${provider}`}`,
      {
        remedy:
          'save them with "kubectl get --raw /metrics --server URL" from each kube-apiserver, and check --provider',
      },
    );
  }
  const since = Math.max(before?.at ?? 0, started);
  const forMs = last ? Math.max(0, Math.floor((last.at - since) * 1000)) : 0;
  return { server, keyIdHash: last?.hash, forMs, since, ...(configHash !== undefined && { configHash }) };
}

const labelOf = (labels: string, name: string): string | undefined =>
  new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels)?.[1];
