import { KmsError } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import { pacer } from '../pacer.ts';
import { Compacted, MAX_ANSWER_BYTES, PageTooLarge } from './client.ts';
import type { EtcdClient } from './client.ts';
import type { EtcdObject } from './key-value.ts';
import type { RangeAnswer } from './range.ts';

export interface PageOptions {
  readonly prefix: string;
  /** Most objects of a page. */
  readonly pageSize: number;
  /** Most objects per second; `Infinity` without a limit. */
  readonly rate: number;
  readonly clock: Clock;
}

export interface Page {
  /** Valid until the next page. */
  readonly objects: readonly EtcdObject[];
  /** Objects from the start of this page to the end of the prefix. */
  readonly remaining: number;
  /** Revision at which this page was read. */
  readonly revision: number;
  readonly clusterId: string;
  readonly memberId: string;
}

/**
 * Reads all objects below a prefix, page by page, each once. All pages are of one revision, unless etcd compacts it away in between: then
 * the rest is read at the newest one. Whatever exists from the start to the end of the scan is read either way.
 * @throws {@link KmsError} `ERR_KMS_ETCD_UNAVAILABLE`
 */
export async function* pagesOf(
  client: Pick<EtcdClient, 'range'>,
  { prefix, pageSize, rate, clock }: PageOptions,
): AsyncGenerator<Page, void, undefined> {
  const rangeEnd = endOf(Buffer.from(prefix));
  const pace = pacer(clock, rate);
  let [key, limit, revision] = [Buffer.from(prefix), pageSize, 0];
  for (;;) {
    let answer: RangeAnswer;
    try {
      answer = await client.range({ key, rangeEnd, limit, revision });
    } catch (error) {
      if (error instanceof Compacted && revision > 0) revision = 0;
      else if (error instanceof PageTooLarge && limit > 1) limit = Math.ceil(limit / 2);
      else throw asKmsError(error, key);
      continue;
    }
    const { objects, count: remaining, more, clusterId, memberId } = answer;
    revision ||= answer.revision;
    yield { objects, remaining, revision, clusterId, memberId };
    const last = objects.at(-1);
    if (!more || !last) return;
    // The next key in order: the same with a zero byte behind it. A copy, because the page is about to go.
    key = Buffer.concat([last.key, Buffer.alloc(1)]);
    limit = Math.min(pageSize, limit * 2);
    await pace(objects.length);
  }
}

/** The first key behind all keys with a prefix, as etcd's clients compute it: the last byte below 0xff plus one. */
export function endOf(prefix: Buffer): Buffer {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) throw new RangeError('a prefix has a byte below 0xff');
  const end = Buffer.from(prefix.subarray(0, length));
  end[length - 1]!++;
  return end;
}

function asKmsError(error: unknown, key: Buffer): unknown {
  if (error instanceof PageTooLarge) {
    const message = `the object after key ${JSON.stringify(key.toString())} has more than ${MAX_ANSWER_BYTES} bytes`;
    return new KmsError('ERR_KMS_ETCD_UNAVAILABLE', message, { cause: error });
  }
  if (error instanceof Compacted) return new KmsError('ERR_KMS_ETCD_UNAVAILABLE', error.message, { cause: error });
  return error;
}
