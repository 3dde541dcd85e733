import { randomFillSync } from 'node:crypto';
import { EnvelopeKey } from '../../envelope/envelope.ts';
import { KEY_BYTES } from '../../envelope/limits.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import type { RemoteContext, RemoteKek } from './remote-kek.ts';

/** A local KEK: one half seals here, the other one opens and may go to the cache. */
export interface LocalKek {
  readonly sealing: EnvelopeKey;
  readonly opening: EnvelopeKey;
  readonly wrapped: Buffer;
}

export function destroyLocalKek({ sealing, opening }: LocalKek): void {
  sealing.destroy();
  opening.destroy();
}

/** Creates a random local KEK, which the token wraps under version `keyId`. */
export async function newLocalKek(
  remote: RemoteKek,
  keyId: string,
  contextId: Buffer,
  context: RemoteContext,
): Promise<LocalKek> {
  const key = new SecretBytes(Buffer.alloc(KEY_BYTES));
  try {
    randomFillSync(key.expose());
    const wrapped = await remote.wrap(keyId, key, context);
    const copy = () => new SecretBytes(Buffer.from(key.expose()));
    return {
      sealing: new EnvelopeKey({ key: copy(), keyId, contextId, wrapped }),
      opening: new EnvelopeKey({ key: copy(), keyId, contextId, wrapped }),
      wrapped,
    };
  } finally {
    key.wipe();
  }
}
