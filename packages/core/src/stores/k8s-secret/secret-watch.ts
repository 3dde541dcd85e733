import type { ClientHttp2Stream } from 'node:http2';
import { backOffMs } from '../../util/back-off.ts';
import { sleep } from '../../util/clock.ts';
import type { ApiServer } from './api-server.ts';
import { CANCEL } from './connections.ts';
import type { SecretName } from './secret-name.ts';

/** Only versions, never keys, come over a watch. */
const ACCEPT = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
/** Least seconds after which the API server ends a watch. As in client-go, a random time so that not all end at once. */
const LEAST_SECONDS = 300;
/** ms after which a watch counts as a good one: the next one does not wait longer. */
const GOOD_MS = 30_000;
const BACK_OFF = { firstMs: 500, longestMs: 30_000 };
/** Longest event: annotations have at most 256 KiB, and managed fields are about as long. */
const MAX_LINE_BYTES = 512 * 1024;
/** ms between two pieces of a watch that have events. Flow control holds the API server back meanwhile. */
const PACE_MS = 100;

interface WatchEvent {
  readonly object: { readonly metadata?: Partial<SecretName> & { readonly resourceVersion?: string } };
}

/**
 * Watches one Secret by its name until `signal` aborts. Whatever ends a watch (its time, 410 Gone, an API server that restarts,
 * an expired token), another one follows. Each begins with the Secret as it is, so it misses nothing but a deletion, which
 * the next load sees.
 *
 * @param onVersion - gets the resourceVersion of each event, also of a deletion, or `undefined` for an error
 */
export async function watchSecret(
  api: ApiServer,
  secret: SecretName,
  onVersion: (resourceVersion: string | undefined) => void,
  signal: AbortSignal,
): Promise<void> {
  const { namespace, name } = secret;
  // resourceVersion=0: it starts with any state, which comes from the API server's memory, not from etcd.
  const query = `watch=1&resourceVersion=0&fieldSelector=metadata.name%3D${name}`;
  for (let failures = 1; !signal.aborted; failures++) {
    const started = api.clock.now();
    const timeout = Math.round(LEAST_SECONDS * (1 + Math.random()));
    const path = `/api/v1/namespaces/${namespace}/secrets?${query}&timeoutSeconds=${timeout}`;
    try {
      const { status, stream } = await api.open({ method: 'GET', path, accept: ACCEPT, signal });
      if (status === 200) await readEvents(stream, secret, onVersion, () => sleep(api.clock, PACE_MS, signal));
      stream.close(CANCEL);
    } catch {
      // Why it ended makes no difference: the next load says what is wrong with the store.
    }
    if (api.clock.now() - started >= GOOD_MS) failures = 1;
    await sleep(api.clock, backOffMs(failures, BACK_OFF), signal).catch(() => undefined);
  }
}

/**
 * Tells of the last event of each piece of the answer, since the others are past.
 * @param pause - is awaited after each piece that has an event
 */
async function readEvents(
  stream: ClientHttp2Stream,
  secret: SecretName,
  onVersion: (resourceVersion: string | undefined) => void,
  pause: () => Promise<void>,
): Promise<void> {
  // The line that has no end yet, in pieces: joined once, however many they are.
  let line: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end < 0) {
      line.push(chunk);
      length += chunk.length;
    } else {
      const start = chunk.lastIndexOf(NEWLINE, end - 1) + 1;
      // Where the piece has the end of one line only, the line began in those before.
      const last = start > 0 ? [chunk.subarray(start, end)] : [...line, chunk.subarray(0, end)];
      line = [chunk.subarray(end + 1)];
      length = line[0]!.length;
      onVersion(versionOf(JSON.parse(Buffer.concat(last).toString('utf8')) as WatchEvent, secret));
      await pause();
    }
    if (length > MAX_LINE_BYTES) return;
  }
}

const NEWLINE = 0x0a;

/** @throws an error for another Secret: such an answer is not trusted any further */
function versionOf({ object: { metadata } }: WatchEvent, { namespace, name }: SecretName): string | undefined {
  // An error has no name.
  if (metadata?.name === undefined) return undefined;
  if (metadata.name === name && metadata.namespace === namespace) return metadata.resourceVersion;
  throw new Error('an event of another Secret');
}
