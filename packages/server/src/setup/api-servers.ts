import { KmsError } from '@teapot-kms/core';
import * as z from 'zod';
import { isMetricOfKeys, serverView } from '../rotate/server-view.ts';
import type { KubeApi } from './kube-api.ts';
import type { ServerState } from './plan-input.ts';

const PODS = '/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver';
const podsSchema = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string().optional() }).optional(),
      spec: z
        .object({
          nodeName: z.string().optional(),
          containers: z.array(z.object({ command: z.array(z.string()).optional() })).optional(),
        })
        .optional(),
      status: z.object({ hostIP: z.string().optional(), podIP: z.string().optional() }).optional(),
    }),
  ),
});

/** One kube-apiserver, and where it is. */
export interface ApiServerPlace {
  readonly name: string;
  readonly api: KubeApi;
}

/** What kube-apiserver's flags say of its own address. */
export function originOf(flags: ReadonlyMap<string, string>): string {
  return origin(flags.get('advertise-address') ?? '127.0.0.1', flags.get('secure-port') ?? '6443');
}

const origin = (host: string, port: string): string => `https://${host.includes(':') ? `[${host}]` : host}:${port}`;

/**
 * The kube-apiservers of the other control-plane nodes, from their static pods. One that does not run is among them: it may run again.
 * @param own - of this node
 * @param open - reaches another one, by its origin
 */
export async function otherServers(own: KubeApi, open: (origin: string) => KubeApi): Promise<ApiServerPlace[]> {
  const pods = await own.object('GET', PODS, podsSchema);
  return (pods?.items ?? []).flatMap(({ metadata, spec, status }) => {
    const flagOf = (name: string): string | undefined =>
      spec?.containers?.[0]?.command?.find((one) => one.startsWith(`--${name}=`))?.slice(name.length + 3);
    // On a host with several networks, the kubelet may name another one.
    const host = flagOf('advertise-address') ?? status?.hostIP ?? status?.podIP;
    // Without an address nobody can ask it, so that it does not count as one that can read.
    const place = host === undefined ? 'https://invalid.' : origin(host, flagOf('secure-port') ?? '6443');
    if (place === own.origin) return [];
    const name = spec?.nodeName ?? metadata?.name ?? place;
    return [{ name, api: open(place) }];
  });
}

/** What a kube-apiserver says of itself now. One that does not answer, or is not ready, has no start, but a problem. */
export async function stateOf({ name, api }: ApiServerPlace, provider: string): Promise<ServerState> {
  try {
    await api.checkReady();
    const text = await api.metrics(isMetricOfKeys);
    return { name, startedAt: serverView(text, undefined, api.origin).since, keyIdHash: keyIdHashOf(text, provider) };
  } catch (error) {
    const { message, remedy } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
    return {
      name,
      startedAt: undefined,
      keyIdHash: undefined,
      problem: message,
      ...(remedy !== undefined && { remedy }),
    };
  }
}

function keyIdHashOf(metrics: string, provider: string): string | undefined {
  try {
    return serverView(metrics, provider, 'metrics').keyIdHash;
  } catch {
    // It has no such provider, or has not reached it yet.
    return undefined;
  }
}
