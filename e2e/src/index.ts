/** What the benchmarks use of the end-to-end harness. */
export type { ApiClient, KubeList } from './api-client.ts';
export { DEFAULT_KUBERNETES, findBinaries } from './binaries.ts';
export { Cluster } from './cluster.ts';
export type { EncryptionProvider } from './encryption-configuration.ts';
export { fileKeyStore } from './key-stores/file.ts';
export { runManyInstances } from './many-instances.ts';
export { SECRETS, inParallel, secret, untilDefaultNamespace } from './objects.ts';
