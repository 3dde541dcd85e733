import * as z from 'zod';
import { duration } from '../../util/duration.ts';
import { KmsError } from '../../errors.ts';
import type { LocalKekLimits } from './remote-kek.ts';

/** Settings of every store whose keys stay in it. */
export const localKekSettings = {
  localKeks: z
    .strictObject({
      softAge: duration(1_000)
        .prefault('1h')
        .describe('age at which a local KEK is replaced, and an unwrapped one is unwrapped again, in the background'),
      hardAge: duration(1_000)
        .prefault('24h')
        .describe('age at which a local KEK is no longer used: how long a revoked key still works'),
      cacheEntries: z.int().min(1).max(1_000_000).default(10_000).describe('most unwrapped local KEKs in memory'),
      maxPending: z
        .int()
        .min(1)
        .max(100_000)
        .default(1_024)
        .describe('most operations that wait for the token at the same time'),
    })
    .prefault({})
    .describe('the keys that seal the data and that the token wraps'),
  direct: z
    .boolean()
    .default(false)
    .describe('send every call to the token, so that its audit log shows each use; slow, because nothing is cached'),
};

export type LocalKekSettings = z.output<z.ZodObject<typeof localKekSettings>>;

/** @throws {@link KmsError} `ERR_KMS_INVALID_URI` for ages that contradict each other */
export function localKekOptions({ localKeks, direct }: LocalKekSettings): LocalKekLimits {
  const { softAge: softAgeMs, hardAge: hardAgeMs, cacheEntries, maxPending } = localKeks;
  if (softAgeMs > hardAgeMs) {
    throw new KmsError('ERR_KMS_INVALID_URI', 'expected a localKeks.softAge that is not longer than localKeks.hardAge');
  }
  return { softAgeMs, hardAgeMs, cacheEntries, maxPending, direct };
}

/** The limits without any setting. */
export const defaultLimits: LocalKekLimits = localKekOptions(z.object(localKekSettings).parse({}));
