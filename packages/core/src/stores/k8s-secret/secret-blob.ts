import { KEY_BYTES } from '../../envelope/limits.ts';
import { KmsError } from '../../errors.ts';
import { wrongBlobSize } from '../../keyset/blob.ts';
import { RESTORE_KEYS } from '../../keyset/restoring.ts';
import { blobName } from '../../keyset/manifest.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import type { SecretObject } from './protobuf.ts';
import { uriOf } from './secret-name.ts';
import type { SecretName } from './secret-name.ts';

/**
 * Returns a copy of a key in the data of a Secret: 32 bytes, which the caller wipes.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` if it is missing or has another size
 */
export function blobOf(data: SecretObject['data'], keyId: string, secret: SecretName): SecretBytes {
  const where = `${uriOf(secret)} ${blobName(keyId)}`;
  const blob = data.get(blobName(keyId));
  if (!blob) throw new KmsError('ERR_KMS_KEYSET_INVALID', `${where} is missing`, { remedy: RESTORE_KEYS });
  if (blob.length !== KEY_BYTES) throw wrongBlobSize(where, blob.length);
  return new SecretBytes(Buffer.from(blob));
}
