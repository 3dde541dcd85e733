/*
 * What this project's own tests, benchmarks and fakes need beyond the public API. It may change in any release.
 */
export { toHandler } from './kms/endpoint.ts';
export type { CallObserver } from './kms/endpoint.ts';
export { v2 } from './kms/messages.ts';
export { v1beta1Endpoints } from './kms/v1beta1.ts';
export { v2Endpoints } from './kms/v2.ts';
export { CallLog } from './observability/call-log.ts';
export { Metrics } from './observability/metrics.ts';
export { encryptedResources } from './rotate/encryption-configuration.ts';
export { transports } from './transport/index.ts';
export type { Call, Handler } from './transport/seam.ts';
export { SocketListener } from './transport/socket.ts';
