import {
  KmsError,
  providerFor,
  RESTORE_KEYSET,
  SharedResources,
  shellWord,
  TokenProofs,
  verifyReport,
} from '@teapot-kms/core';
import type {
  Finding,
  KeysetAdmin,
  KeysetSource,
  RemoteKek,
  ReplicaReport,
  ReportProof,
  StoredManifest,
} from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';

/** Time limit in ms for all requests to one key store. */
const TIMEOUT_MS = 30_000;

export interface Examined {
  readonly findings: readonly Finding[];
  /** The manifest in the store: `undefined` if there is none, or it cannot be read. */
  readonly manifest: StoredManifest | undefined;
  /** What the keys in the store show of each report. Empty if no key can be loaded. */
  readonly proofs: ReportProofs;
}

/** What is known of each report of a replica. */
export type ReportProofs = ReadonlyMap<ReplicaReport, ReportProof>;
type Proofs = TokenProofs['proofs'];

/**
 * Checks the key store of an instance directly, not through the running plugin.
 * @param used - whether this host has used a keyset for this instance, or a plugin holds keys: then nothing suggests to make a new one
 * @param reports - of replicas, which are verified with the keys in the store
 */
export async function examineKeyStore(
  { name, keys: { uri, ...settings } }: InstanceConfig,
  used: boolean,
  reports: readonly ReplicaReport[] = [],
): Promise<Examined> {
  const context = { signal: AbortSignal.timeout(TIMEOUT_MS) };
  const provider = providerFor(uri);
  const store = provider.open(uri, settings, new SharedResources());
  const about = `${name}, keys ${store.uri}`;
  const options = provider.kind === 'keyset' ? `--uri ${shellWord(store.uri)}` : '--config FILE --instance NAME';
  const generate = used ? undefined : `teapot-kms keys generate ${options}`;
  const proofs = new Map<ReplicaReport, ReportProof>();
  const verify = (keys: Proofs): void => {
    for (const report of reports) proofs.set(report, verifyReport(report, keys));
  };
  const examine = async (): Promise<readonly Finding[]> => (await store.examine?.(context)) ?? [];
  try {
    const manifest = await manifestOf(store.admin);
    const findings = await load(store, generate, context, verify).then(
      async (loaded) => [...loaded, ...(await examine())],
      async (error: unknown) => [problem(error, generate), ...(await examine().catch(() => []))],
    );
    return { findings: findings.map((finding) => ({ about, ...finding })), manifest, proofs };
  } finally {
    await store.close?.();
  }
}

const manifestOf = async (admin: KeysetAdmin | undefined): Promise<StoredManifest | undefined> =>
  (await admin?.readManifest().catch(() => undefined))?.manifest;

async function load(
  store: KeysetSource | RemoteKek,
  generate: string | undefined,
  context: { signal: AbortSignal },
  verify: (keys: Proofs) => void,
): Promise<Finding[]> {
  if ('load' in store) {
    const keyset = await store.load(context);
    const { warnings, manifest, seals } = keyset;
    verify(keyset.proofs);
    keyset.destroy();
    const all = warnings.map((warning) => problem(warning, generate));
    return seals ? [loaded(manifest.primary, manifest.keys.length), ...all] : all;
  }
  const description = await store.describe(context);
  const { primary, keys, damaged } = description;
  const tested = new TokenProofs(store);
  const wrong = await tested.verify(description, false, context.signal).finally(() => {
    verify(tested.proofs);
    tested.destroy();
  });
  return [
    ...(damaged?.primary ? [] : [loaded(primary, keys.length)]),
    ...[...(damaged ? [damaged.error] : []), ...wrong.values()].map((error) => problem(error, generate)),
  ];
}

function loaded(primary: string, keys: number): Finding {
  return { level: 'ok', text: `loaded, primary ${primary}, ${keys} key${keys === 1 ? '' : 's'} in all` };
}

/** @param generate - the command that makes a keyset, if that can destroy nothing */
function problem(error: unknown, generate: string | undefined): Finding {
  if (typeof error === 'string') return { level: 'problem', text: error };
  const { message, code, remedy = REACH } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
  const text = `${message} (${code})`;
  const absent = code === 'ERR_KMS_STORE_UNAVAILABLE' && remedy.endsWith(RESTORE_KEYSET);
  if (!absent || generate === undefined) return { level: 'problem', text, remedy };
  return {
    level: 'problem',
    text,
    remedy: `${remedy}. Only if this cluster has never had encrypted data: ${generate}`,
  };
}

/** Nothing is known but that it fails. */
const REACH = 'make the key store reachable and readable again, as it was';
