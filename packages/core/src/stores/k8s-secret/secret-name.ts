import { KmsError } from '../../errors.ts';
import { shownUri } from '../../util/shown-uri.ts';
import type { ApiRequest } from './api-server.ts';

/** Which Secret. */
export interface SecretName {
  readonly namespace: string;
  readonly name: string;
}

/** The media type in which a Secret is asked for. */
export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const URI = new RegExp(`^k8s-secret:(?<namespace>${LABEL})/(?<name>${LABEL}(?:\\.${LABEL})*)$`);

/** @throws {@link KmsError} `ERR_KMS_INVALID_URI` */
export function parseSecretUri(uri: string): SecretName {
  const { namespace, name } = URI.exec(uri)?.groups ?? {};
  if (namespace === undefined || name === undefined || name.length > 253) {
    throw new KmsError('ERR_KMS_INVALID_URI', `expected k8s-secret:namespace/name, found ${shownUri(uri)}`);
  }
  return { namespace, name };
}

export const uriOf = ({ namespace, name }: SecretName): string => `k8s-secret:${namespace}/${name}`;

export const pathOf = ({ namespace, name }: SecretName): string => `/api/v1/namespaces/${namespace}/secrets/${name}`;

/** The request for the Secret with its data. */
export function getSecret(secret: SecretName, signal?: AbortSignal): ApiRequest {
  return { method: 'GET', path: pathOf(secret), accept: PROTOBUF, ...(signal && { signal }) };
}
