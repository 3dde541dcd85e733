import { KmsError } from '@teapot-kms/core';
import type { KmsErrorCode } from '@teapot-kms/core';
import { MalformedMessage } from '@teapot-kms/core/protobuf';
import { GrpcStatus, RpcError } from '../transport/seam.ts';
import type { GrpcStatusCode } from '../transport/seam.ts';

/** gRPC status by error code (spec §9, design §6). */
const STATUS: Record<KmsErrorCode, GrpcStatusCode> = {
  ERR_KMS_INVALID_REQUEST: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_LIMIT_EXCEEDED: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_ENVELOPE_MALFORMED: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_ENVELOPE_VERSION: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_KEY_ID_MISMATCH: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_AUTHENTICATION_FAILED: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_UNWRAP_FAILED: GrpcStatus.INVALID_ARGUMENT,
  ERR_KMS_UNKNOWN_KEY: GrpcStatus.FAILED_PRECONDITION,
  ERR_KMS_KEY_RETIRED: GrpcStatus.FAILED_PRECONDITION,
  ERR_KMS_KEY_GONE: GrpcStatus.FAILED_PRECONDITION,
  ERR_KMS_STORE_UNAVAILABLE: GrpcStatus.UNAVAILABLE,
  ERR_KMS_KEYSET_INVALID: GrpcStatus.UNAVAILABLE,
  ERR_KMS_KEYSET_PERMISSIONS: GrpcStatus.UNAVAILABLE,
  ERR_KMS_KEYSET_STALE: GrpcStatus.UNAVAILABLE,
  ERR_KMS_KEYSET_CONFLICT: GrpcStatus.UNAVAILABLE,
  ERR_KMS_KEYSET_RULE: GrpcStatus.INTERNAL,
  ERR_KMS_INVALID_URI: GrpcStatus.INTERNAL,
  // Only commands meet these three.
  ERR_KMS_STORED_VALUE_MALFORMED: GrpcStatus.INTERNAL,
  ERR_KMS_ETCD_UNAVAILABLE: GrpcStatus.INTERNAL,
  ERR_KMS_SNAPSHOT_INVALID: GrpcStatus.INTERNAL,
  ERR_KMS_OVERLOADED: GrpcStatus.RESOURCE_EXHAUSTED,
  ERR_KMS_DEADLINE_EXCEEDED: GrpcStatus.DEADLINE_EXCEEDED,
  ERR_KMS_CANCELLED: GrpcStatus.CANCELLED,
  ERR_KMS_CLOSED: GrpcStatus.UNAVAILABLE,
};

/** Returns the error that is sent to the caller. The original error becomes its cause, which is logged and never sent. */
export function toRpcError(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof MalformedMessage) {
    return new RpcError(GrpcStatus.INTERNAL, 'not a protobuf message', { cause: error });
  }
  if (!(error instanceof KmsError)) return new RpcError(GrpcStatus.INTERNAL, 'internal error', { cause: error });
  return new RpcError(STATUS[error.code], error.message, { cause: error });
}

/**
 * As {@link toRpcError}, for Decrypt. Every defect of a ciphertext gets the same text: only the log of the plugin says which check
 * failed (spec §9).
 */
export function toDecryptError(error: unknown): RpcError {
  const rpcError = toRpcError(error);
  if (rpcError.status === GrpcStatus.INVALID_ARGUMENT) {
    return new RpcError(
      rpcError.status,
      'the ciphertext cannot be opened; the log of the plugin has the reason and the uid of this call',
      {
        cause: error,
      },
    );
  }
  if (error instanceof KmsError && (error.code === 'ERR_KMS_UNKNOWN_KEY' || error.code === 'ERR_KMS_KEY_RETIRED')) {
    const text = 'the plugin may not use the key of this ciphertext; its log has the key and the uid of this call';
    return new RpcError(rpcError.status, text, { cause: error });
  }
  return rpcError;
}
