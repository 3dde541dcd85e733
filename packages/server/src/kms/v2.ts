import { KmsError, systemClock } from '@teapot-kms/core';
import type { Clock, EncryptResult, KmsService } from '@teapot-kms/core';
import { Announcements } from './announcements.ts';
import { andThen } from './endpoint.ts';
import type { Endpoint } from './endpoint.ts';
import { v2 } from './messages.ts';
import { toDecryptError, toRpcError } from './status-codes.ts';
import type { Answer } from '../transport/seam.ts';

/** `encryptedDEKSourceMaxSize`: kube-apiserver refuses longer ciphertexts (k8s.io/apiserver kmsv2/envelope.go). */
const MAX_CIPHERTEXT_BYTES = 1_024;

/** Version that Status reports. kube-apiserver 1.27 and 1.28 accept only `v2beta1`. */
export type V2Version = 'v2' | 'v2beta1';

/** KMS v2 (KEP-3299) for a {@link KmsService}. */
export function v2Endpoints(service: KmsService, version: V2Version, clock: Clock = systemClock): Endpoint[] {
  const announcements = new Announcements(clock);
  const base = { api: 'v2', toRpcError } as const;
  return [
    {
      ...base,
      path: '/v2.KeyManagementService/Status',
      method: 'Status',
      handle(request, { connection }) {
        v2.StatusRequest.decode(request);
        return andThen(service.status(), ({ healthz, keyId }) => {
          announcements.announced(connection, keyId);
          return v2.StatusResponse.answer({ version, healthz, key_id: keyId });
        });
      },
    },
    {
      ...base,
      path: '/v2.KeyManagementService/Encrypt',
      method: 'Encrypt',
      handle(request, call, note) {
        const { plaintext, uid } = v2.EncryptRequest.decode(request);
        note.uid = uid;
        const announcedKeyId = announcements.recent(call.connection);
        const context = {
          announcedKeyId,
          get signal() {
            return call.signal;
          },
        };
        return andThen(service.encrypt(plaintext, context), (result) => {
          note.keyId = result.keyId;
          return encryptResponse(result);
        });
      },
    },
    {
      ...base,
      path: '/v2.KeyManagementService/Decrypt',
      method: 'Decrypt',
      toRpcError: toDecryptError,
      handle(request, call, note) {
        const { ciphertext, uid, key_id: keyId, annotations } = v2.DecryptRequest.decode(request);
        note.uid = uid;
        note.keyId = keyId;
        // This plugin writes no annotations, and nothing authenticates them.
        if (annotations.size > 0)
          throw new KmsError('ERR_KMS_ENVELOPE_MALFORMED', 'found annotations; this plugin writes none');
        return andThen(service.decrypt({ ciphertext, keyId }, call), (plaintext) =>
          v2.DecryptResponse.answer({ plaintext }),
        );
      },
    },
  ];
}

function encryptResponse({ ciphertext, keyId }: EncryptResult): Answer {
  if (ciphertext.length > MAX_CIPHERTEXT_BYTES) {
    const message = `the ciphertext has ${ciphertext.length} bytes; KMS v2 allows ${MAX_CIPHERTEXT_BYTES}`;
    throw new KmsError('ERR_KMS_LIMIT_EXCEEDED', message);
  }
  return v2.EncryptResponse.answer({ ciphertext, key_id: keyId });
}
