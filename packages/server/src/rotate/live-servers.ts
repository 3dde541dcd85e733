import { KmsError } from '@teapot-kms/core';
import type { Api } from '../kubernetes/answers.ts';
import { identityLeases } from '../kubernetes/identity-leases.ts';
import { metricLines } from '../kubernetes/metric-lines.ts';
import type { MetricsReader } from '../kubernetes/metric-lines.ts';
import { keyIdHash } from '../kms/key-id-hash.ts';
import type { ServerView } from './plan.ts';
import { isMetricOfKeys, serverView } from './server-view.ts';

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

/**
 * Returns what each kube-apiserver that is alive says of its key. A load balancer hides servers, so their identity Leases say which there are, and
 * metrics are matched with them by `apiserver_id_hash`.
 * @param readers - by what errors call them: their URLs. Where one is that of a load balancer, it is any kube-apiserver
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
      const view = serverView(await metricLines(reader, api.clock, where, isMetricOfKeys), provider, where);
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
