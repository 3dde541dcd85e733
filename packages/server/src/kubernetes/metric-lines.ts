import { KmsError, timeoutSignal, unavailable } from '@teapot-kms/core';
import type { ApiServer, Clock } from '@teapot-kms/core';

/** Those of a large cluster take 20 MB. */
const MAX_METRICS_BYTES = 128 * 1024 * 1024;
const MAX_LINE = 16 * 1024;
const MAX_KEPT = 256 * 1024;
const TIMEOUT_MS = 60_000;

/** One kube-apiserver. */
export type MetricsReader = Pick<ApiServer, 'open'>;

/**
 * Reads some lines of a kube-apiserver's metrics, without keeping the rest of them.
 * @param where - what an error names: its URL
 * @param keep - whether a line is wanted
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function metricLines(
  reader: MetricsReader,
  clock: Clock,
  where: string,
  keep: (line: string) => boolean,
): Promise<string> {
  const signal = timeoutSignal(clock, TIMEOUT_MS);
  const { status, stream } = await reader.open({ method: 'GET', path: '/metrics', accept: 'text/plain', signal });
  try {
    if (status !== 200) {
      const remedy = 'allow the user of the kubeconfig to get the non-resource URL /metrics';
      throw unavailable(`${where}/metrics: HTTP status ${status}`, { remedy });
    }
    return await kept(stream as AsyncIterable<Buffer>, where, keep);
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `${where}/metrics: the answer is not whole`);
  } finally {
    stream.destroy();
  }
}

async function kept(stream: AsyncIterable<Buffer>, where: string, keep: (line: string) => boolean): Promise<string> {
  let [bytes, rest, text] = [0, '', ''];
  for await (const chunk of stream) {
    bytes += chunk.length;
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (keep(line)) text += `${line}\n`;
    if (bytes > MAX_METRICS_BYTES || rest.length > MAX_LINE || text.length > MAX_KEPT) {
      throw unavailable(`${where}/metrics: an answer that is too long`);
    }
  }
  return text;
}
