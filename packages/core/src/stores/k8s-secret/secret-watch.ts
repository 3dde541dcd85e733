import type { ClientHttp2Stream } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiServer } from './api-server.ts';
import { CANCEL } from './connections.ts';
import type { SecretName } from './secret-name.ts';

/** Only versions, never keys, come over a watch. */
const ACCEPT = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
/** Seconds after which the API server ends a watch by itself; another one follows. As client-go: at random, so that not all end at once. */
const LEAST_SECONDS = 300;
/** A watch that lived for so many ms was a good one; after a shorter one the next waits longer. */
const GOOD_MS = 30_000;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
const MAX_LINE_BYTES = 4 * 1024 * 1024;

interface WatchEvent {
  readonly type: string;
  readonly object: { readonly metadata?: { readonly resourceVersion?: string } };
}

/**
 * Watches one Secret by its name, again and again, whatever ends a watch: its time, 410 Gone, an API server that restarts, a
 * token that has expired. Each watch begins with the Secret as it is, so nothing that happened in between is missed but a
 * deletion, which the next load sees.
 *
 * @param onVersion - gets the Secret's resourceVersion, or `undefined` where it was deleted
 * @returns what ends it
 */
export function watchSecret(
  api: ApiServer,
  { namespace, name }: SecretName,
  onVersion: (resourceVersion: string | undefined) => void,
): () => void {
  const stopped = new AbortController();
  const { signal } = stopped;
  // resourceVersion=0: any state will do to begin with, so it comes from the API server's memory, not from etcd.
  const query = `watch=1&resourceVersion=0&fieldSelector=metadata.name%3D${name}`;
  const watchOnce = async (): Promise<void> => {
    const timeout = Math.round(LEAST_SECONDS * (1 + Math.random()));
    const path = `/api/v1/namespaces/${namespace}/secrets?${query}&timeoutSeconds=${timeout}`;
    const { status, stream } = await api.open({ method: 'GET', path, accept: ACCEPT, signal });
    if (status === 200) await readEvents(stream, onVersion);
    stream.close(CANCEL);
  };
  const watchOn = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted;) {
      const began = performance.now();
      // Why it ended makes no difference: the next load says what is wrong with the store.
      await watchOnce().catch(() => undefined);
      failures = performance.now() - began >= GOOD_MS ? 0 : failures + 1;
      await sleep(backoff(failures), undefined, { signal, ref: false }).catch(() => undefined);
    }
  };
  void watchOn();
  return () => stopped.abort();
}

function backoff(failures: number): number {
  return Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** failures) * (0.5 + Math.random());
}

/** Ends when the stream does, or with an event that says the watch is over. */
async function readEvents(
  stream: ClientHttp2Stream,
  onVersion: (resourceVersion: string | undefined) => void,
): Promise<void> {
  let rest = '';
  for await (const chunk of stream.setEncoding('utf8') as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_LINE_BYTES) return;
    for (const line of lines) {
      const { type, object } = JSON.parse(line) as WatchEvent;
      if (type === 'ERROR') return;
      if (type !== 'BOOKMARK') onVersion(type === 'DELETED' ? undefined : object.metadata?.resourceVersion);
    }
  }
}
