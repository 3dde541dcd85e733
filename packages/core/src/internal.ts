/*
 * Exports for this project's own tests, benchmarks and fakes, beyond the public API. They may change in any release.
 */
export { CONTEXT_ID_BYTES, KEY_BYTES, MAX_WRAPPED_BYTES } from './envelope/limits.ts';
export { newKey } from './keyset/blob.ts';
export { keysetConflict } from './keyset/keyset-source.ts';
export { KeyProof } from './keyset/key-proof.ts';
export { makeReport } from './keyset/report.ts';
export { relationOf } from './keyset/succession.ts';
export { formatManifest, parseManifest } from './keyset/manifest.ts';
export type { KeyTraits } from './keyset/manifest.ts';
export { newManifest, withPendingKey } from './keyset/rotation.ts';
export { KekCache } from './service/local-kek/kek-cache.ts';
export { Unwrapper } from './service/local-kek/unwrapper.ts';
export { BarbicanClient } from './stores/barbican/client.ts';
export { barbicanProvider } from './stores/barbican/index.ts';
export { CloudConfiguration, cloudSettings } from './stores/barbican/keystone/configuration.ts';
export { KeystoneSession } from './stores/barbican/keystone/session.ts';
export { abortError } from './util/abort.ts';
