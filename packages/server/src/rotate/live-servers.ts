import { KmsError, timeoutSignal, unavailable } from '@teapot-kms/core';
import type { ApiServer } from '@teapot-kms/core';
import type { Api } from '../kubernetes/answers.ts';
import { identityLeases } from '../kubernetes/identity-leases.ts';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { ServerView } from './plan.ts';
import { isMetricOfKeys, serverView } from './server-view.ts';

/** Those of a large cluster take 20 MB. */
const MAX_METRICS_BYTES = 128 * 1024 * 1024;
const MAX_LINE = 16 * 1024;
const TIMEOUT_MS = 60_000;
/** What is shown of a name that the cluster gives. */
const SHOWN_ID = 22;

const UNSEEN = { keyIdHash: undefined, forMs: 0, since: 0 };

const NO_LEASE =
  'no kube-apiserver has renewed an identity Lease for five minutes: turn on its feature gate APIServerIdentity, and compare the clocks';

export interface LiveServers {
  /** Of every kube-apiserver that is alive, also if nobody has seen its metrics. */
  readonly views: readonly ServerView[];
  /** Why metrics could not be read. */
  readonly problems: readonly string[];
}

/** @param server - one kube-apiserver; where its URL is that of a load balancer, it is any */
export type MetricsReader = Pick<ApiServer, 'open'>;

/**
 * Returns what each kube-apiserver that is alive says of its key. A load balancer hides servers, so their identity Leases say which there are, and
 * metrics are matched with them by `apiserver_id_hash`.
 * @param readers - by what errors call them: their URLs
 * @param provider - the KMS provider's name in the EncryptionConfiguration
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` if the Leases cannot be read
 */
export async function liveServers(
  api: Api,
  readers: ReadonlyMap<string, MetricsReader>,
  provider: string | undefined,
): Promise<LiveServers> {
  const leases = await identityLeases(api);
  const problems: string[] = leases.length > 0 ? [] : [NO_LEASE];
  const seen = new Map<string, ServerView>();
  const look = async ([where, reader]: [string, MetricsReader]): Promise<void> => {
    try {
      const view = serverView(await metricsOf(reader, api, where), provider, where);
      seen.set(view.server, view);
    } catch (error) {
      if (!(error instanceof KmsError)) throw error;
      problems.push(error.message);
    }
  };
  await Promise.all([...readers].map(look));
  const views = leases.map(({ name, host }) => {
    const server = `${name.slice(0, SHOWN_ID)}${host === undefined ? '' : ` on ${host}`}`;
    // `apiserver_id_hash` is the same hash of the Lease's name (k8s.io/apiserver envelope/metrics `getHash`).
    const view = seen.get(keyIdHash(name));
    return { ...(view ?? UNSEEN), server };
  });
  return { views, problems };
}

/** Reads what metrics say of keys, without keeping the rest of them. */
async function metricsOf(reader: MetricsReader, { clock }: Api, where: string): Promise<string> {
  const signal = timeoutSignal(clock, TIMEOUT_MS);
  const { status, stream } = await reader.open({ method: 'GET', path: '/metrics', accept: 'text/plain', signal });
  try {
    if (status !== 200) {
      const remedy = 'allow the user of the kubeconfig to get the non-resource URL /metrics';
      throw unavailable(`${where}/metrics: HTTP status ${status}`, { remedy });
    }
    return await linesOfKeys(stream as AsyncIterable<Buffer>, where);
  } catch (error) {
    throw KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE', `${where}/metrics: the answer is not whole`);
  } finally {
    stream.destroy();
  }
}

async function linesOfKeys(stream: AsyncIterable<Buffer>, where: string): Promise<string> {
  let [bytes, rest, kept] = [0, '', ''];
  for await (const chunk of stream) {
    bytes += chunk.length;
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop()!;
    for (const line of lines) if (isMetricOfKeys(line)) kept += `${line}\n`;
    if (bytes > MAX_METRICS_BYTES || rest.length > MAX_LINE || kept.length > MAX_LINE * 16) {
      throw unavailable(`${where}/metrics: an answer that is too long`);
    }
  }
  return kept;
}
