export { KmsError } from './errors.ts';
export type { KmsErrorCode } from './errors.ts';
export { SecretBytes } from './secret-bytes.ts';
export { systemClock } from './clock.ts';
export { duration } from './duration.ts';
export type { Clock } from './clock.ts';
export { formatProblems, parseYaml } from './yaml-document.ts';
export type { YamlProblem, YamlResult } from './yaml-document.ts';
export type {
  CallContext,
  DecryptRequest,
  EncryptContext,
  EncryptResult,
  EventListener,
  KmsService,
  MaybePromise,
  ServiceDescription,
  ServiceEvent,
  StatusResult,
} from './service.ts';
export { CryptoEngine, cryptoEngines, inlineEngine } from './crypto/engine.ts';
export type { CryptoEngineName, CryptoEngineOptions } from './crypto/engine.ts';
export { decodeEnvelope } from './envelope/codec.ts';
export type { Envelope } from './envelope/codec.ts';
export { EnvelopeKey } from './envelope/envelope.ts';
export { isKeyId, newKeyId } from './envelope/key-id.ts';
export { MAX_PLAINTEXT_BYTES } from './envelope/limits.ts';
export { destroyRetiredKey, generateKey, promoteKey, restoreKey, retireKey } from './keyset/administration.ts';
export type { Change, ChangeOptions } from './keyset/administration.ts';
export { Keyset } from './keyset/keyset.ts';
export { KeysetService } from './keyset/keyset-service.ts';
export type { KeysetServiceOptions } from './keyset/keyset-service.ts';
export type { Provider } from './providers/index.ts';
export type { Remark } from './remark.ts';
export type { ResourceEvent } from './shared-resources.ts';
export { SharedResources } from './shared-resources.ts';
export type { KeysetAdmin, KeysetProvider, KeysetSource, LoadContext } from './keyset/keyset-source.ts';
export { watchDirectory } from './providers/watch-directory.ts';
export type { KeyState, Manifest, ManifestEntry } from './keyset/manifest.ts';
export { MIN_PENDING_MS } from './keyset/rotation.ts';
export { LocalKekService } from './local-kek/local-kek-service.ts';
export { localKekOptions } from './local-kek/settings.ts';
export type { LocalKekSettings } from './local-kek/settings.ts';
export type { LocalKekServiceOptions } from './local-kek/local-kek-service.ts';
export type { RemoteContext, RemoteKek, RemoteKekDescription, RemoteKekProvider } from './local-kek/remote-kek.ts';
export { authorityHashes } from './providers/k8s-secret/guard.ts';
export { providerFor, providers } from './providers/index.ts';
