export { KmsError, unavailable } from './errors.ts';
export type { KmsErrorCode, KmsErrorOptions } from './errors.ts';
export { SecretBytes } from './util/secret-bytes.ts';
export { sleep, systemClock } from './util/clock.ts';
export { timeoutSignal } from './util/abort.ts';
export { backOffMs, jittered } from './util/back-off.ts';
export type { BackOff } from './util/back-off.ts';
export { withFileLock } from './util/file-lock.ts';
export { directoryOfUri, uriOfDirectory } from './util/directory-uri.ts';
export { inShellQuotes, shellWord } from './util/shell-word.ts';
export type { Owner } from './util/durable-directory.ts';
export { distrustOf, distrustOfPlace } from './util/trusted-path.ts';
export type { Distrust } from './util/trusted-path.ts';
export { paced } from './util/paced.ts';
export { duration } from './util/duration.ts';
export type { Clock } from './util/clock.ts';
export { FileRefused, readSmallFile, readSmallFileSync } from './util/small-file.ts';
export { safeLines, safeText } from './util/safe-text.ts';
export { shownUri } from './util/shown-uri.ts';
export { shownValue, withheldValue } from './util/shown-value.ts';
export { formatProblems, parseYaml } from './util/yaml-document.ts';
export type { YamlResult } from './util/yaml-document.ts';
export { readYaml } from './util/yaml-reader.ts';
export type { YamlDocument, YamlProblem } from './util/yaml-reader.ts';
export type {
  CallContext,
  DecryptRequest,
  EncryptContext,
  EncryptResult,
  EventListener,
  KmsService,
  MaybePromise,
  ReportSubject,
  ServiceDescription,
  ServiceEvent,
  StatusResult,
} from './kms-service.ts';
export { CryptoEngine, cryptoEngines, inlineEngine } from './crypto/engine.ts';
export type { CryptoEngineName, CryptoEngineOptions } from './crypto/engine.ts';
export { decodeEnvelope } from './envelope/codec.ts';
export type { Envelope } from './envelope/codec.ts';
export { EnvelopeKey } from './envelope/envelope.ts';
export { isKeyId, newKeyId } from './envelope/key-id.ts';
export { MAX_PLAINTEXT_BYTES } from './envelope/limits.ts';
export {
  convertKeyset,
  destroyRetiredKey,
  RETIRED_GRACE_MS,
  generateKey,
  promoteKey,
  restoreKey,
  retireKey,
} from './keyset/administration.ts';
export type { Change, ChangeOptions, GenerateOptions } from './keyset/administration.ts';
export { exportKeyset, importKeyset, wipeKeys } from './keyset/backup.ts';
export type { ExportedKeyset, ImportedKeyset } from './keyset/backup.ts';
export { HostRecords } from './keyset/host-records.ts';
export { RESTORE_KEYSET, RESTORE_NEWEST } from './keyset/restoring.ts';
export { writableRemedy } from './util/writable.ts';
export { Keyset } from './keyset/keyset.ts';
export { KeysetGuard } from './service/keyset-guard.ts';
export type { KeysetGuardOptions } from './service/keyset-guard.ts';
export { KeysetService } from './service/keyset-service.ts';
export type { KeysetServiceOptions } from './service/keyset-service.ts';
export type { Provider } from './stores/index.ts';
export type { Finding } from './finding.ts';
export type { ResourceEvent } from './util/shared-resources.ts';
export { SharedResources } from './util/shared-resources.ts';
export type {
  KeysetAdmin,
  KeysetProvider,
  KeysetSource,
  LoadContext,
  ManifestRevision,
  KeysetBackup,
} from './keyset/keyset-source.ts';
export { watchDirectory } from './stores/file/watch-directory.ts';
export type { KeyState, Manifest, ManifestEntry, StoredManifest } from './keyset/manifest.ts';
export { checkHeldByAll, checkReadByAll, MAX_SKEW_MS, timeDoubtOf } from './keyset/evidence.ts';
export type { Evidence } from './keyset/evidence.ts';
export type { KeyProof } from './keyset/key-proof.ts';
export { MAX_REPORT_BYTES, parseReport, replicaId, verifyReport } from './keyset/report.ts';
export type { ReplicaReport, ReportProof } from './keyset/report.ts';
export { TokenProofs } from './service/local-kek/token-proofs.ts';
export { MigrationService } from './service/migration-service.ts';
export { LocalKekService } from './service/local-kek/local-kek-service.ts';
export { localKekOptions } from './service/local-kek/settings.ts';
export type { LocalKekSettings } from './service/local-kek/settings.ts';
export type { LocalKekServiceOptions } from './service/local-kek/local-kek-service.ts';
export type {
  RemoteContext,
  RemoteKek,
  RemoteKekDescription,
  RemoteKekProvider,
} from './service/local-kek/remote-kek.ts';
export { ApiServer } from './stores/k8s-secret/api-server.ts';
export type { ApiAnswer, ApiRequest, BegunAnswer } from './stores/k8s-secret/api-server.ts';
export { KubeCredentials } from './stores/k8s-secret/credentials.ts';
export type { Credentials } from './stores/k8s-secret/credentials.ts';
export { authorityHashes } from './stores/k8s-secret/guard.ts';
export type { KubeconfigOptions } from './stores/k8s-secret/kubeconfig/load.ts';
export { providerFor, providers } from './stores/index.ts';
