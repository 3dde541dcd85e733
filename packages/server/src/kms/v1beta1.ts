import { KmsError, safeText } from '@teapot-kms/core';
import type { KmsService } from '@teapot-kms/core';
import { version as pluginVersion } from '../version.ts';
import { andThen } from './endpoint.ts';
import type { Endpoint } from './endpoint.ts';
import { v1beta1 } from './messages.ts';
import { toDecryptError, toRpcError } from './status-codes.ts';

/** The only version of this API. kube-apiserver requires exactly this text (k8s.io/apiserver envelope/grpc_service.go). */
const API_VERSION = 'v1beta1';

/**
 * KMS v1, which kube-apiserver ≥ 1.29 uses with the feature gate KMSv1. Encrypt accepts any length: the health check encrypts the
 * four bytes `ping`.
 */
export function v1beta1Endpoints(service: KmsService): Endpoint[] {
  const base = { api: 'v1beta1', toRpcError } as const;
  return [
    {
      ...base,
      path: '/v1beta1.KeyManagementService/Version',
      method: 'Version',
      handle(request) {
        v1beta1.VersionRequest.decode(request);
        return v1beta1.VersionResponse.answer({
          version: API_VERSION,
          runtime_name: 'teapot-kms',
          runtime_version: pluginVersion,
        });
      },
    },
    {
      ...base,
      path: '/v1beta1.KeyManagementService/Encrypt',
      method: 'Encrypt',
      handle(request, call) {
        const { version, plain } = v1beta1.EncryptRequest.decode(request);
        checkVersion(version);
        return andThen(service.encrypt(plain, call), ({ ciphertext }) =>
          v1beta1.EncryptResponse.answer({ cipher: ciphertext }),
        );
      },
    },
    {
      ...base,
      path: '/v1beta1.KeyManagementService/Decrypt',
      method: 'Decrypt',
      toRpcError: toDecryptError,
      handle(request, call) {
        const { version, cipher } = v1beta1.DecryptRequest.decode(request);
        checkVersion(version);
        return andThen(service.decrypt({ ciphertext: cipher }, call), (plain) =>
          v1beta1.DecryptResponse.answer({ plain }),
        );
      },
    },
  ];
}

function checkVersion(version: string): void {
  if (version !== '' && version !== API_VERSION) {
    throw new KmsError(
      'ERR_KMS_INVALID_REQUEST',
      `version: expected ${JSON.stringify(API_VERSION)}, found ${JSON.stringify(safeText(version, 32))}`,
    );
  }
}
