import type { Clock, Credentials } from '@teapot-kms/core';
import { serverView } from '../rotate/server-view.ts';
import { KubeApi } from './kube-api.ts';
import type { ServerState } from './plan-input.ts';

interface Pod {
  readonly metadata?: { readonly name?: string };
  readonly spec?: {
    readonly nodeName?: string;
    readonly containers?: readonly { readonly command?: readonly string[] }[];
  };
  readonly status?: { readonly hostIP?: string; readonly podIP?: string };
}

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
 */
export async function otherServers(own: KubeApi, credentials: Credentials, clock: Clock): Promise<ApiServerPlace[]> {
  const pods = (await own.object(
    'GET',
    '/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver',
  )) as { readonly items?: readonly Pod[] } | undefined;
  return (pods?.items ?? []).flatMap(({ metadata, spec, status }) => {
    const flagOf = (name: string): string | undefined =>
      spec?.containers?.[0]?.command?.find((one) => one.startsWith(`--${name}=`))?.slice(name.length + 3);
    // On a host with several networks, the kubelet may name another one.
    const host = flagOf('advertise-address') ?? status?.hostIP ?? status?.podIP;
    // Without an address nobody can ask it, so that it does not count as one that can read.
    const place = host === undefined ? 'https://invalid.' : origin(host, flagOf('secure-port') ?? '6443');
    if (place === own.origin) return [];
    const name = spec?.nodeName ?? metadata?.name ?? place;
    return [{ name, api: new KubeApi(place, credentials, clock) }];
  });
}

/** What a kube-apiserver says of itself now. One that does not answer, or is not ready, has no start. */
export async function stateOf({ name, api }: ApiServerPlace, provider: string): Promise<ServerState> {
  const unknown: ServerState = { name, startedAt: undefined, keyIdHash: undefined };
  try {
    if ((await api.send('GET', '/readyz')).status !== 200) return unknown;
    const { status, text } = await api.send('GET', '/metrics');
    const started = /^process_start_time_seconds ([0-9.e+]+)$/m.exec(text)?.[1];
    if (status !== 200 || started === undefined) return unknown;
    return { name, startedAt: Number(started), keyIdHash: keyIdHashOf(text, provider) };
  } catch {
    return unknown;
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
