import { KmsError, providerFor, SharedResources } from '@teapot-kms/core';
import type { Finding, KeysetSource, RemoteKek } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';

/** Time limit in ms for all requests to one key store. */
const TIMEOUT_MS = 30_000;

/** Checks the key store of an instance directly, not through the running plugin. */
export async function examineKeyStore({ name, keys: { uri, ...settings } }: InstanceConfig): Promise<Finding[]> {
  const context = { signal: AbortSignal.timeout(TIMEOUT_MS) };
  const provider = providerFor(uri);
  const store = provider.open(uri, settings, new SharedResources());
  const about = `${name}, keys ${store.uri}`;
  const options = provider.kind === 'keyset' ? `--uri ${store.uri}` : `--config FILE --instance ${name}`;
  const examine = async (): Promise<readonly Finding[]> => (await store.examine?.(context)) ?? [];
  let findings: readonly Finding[];
  try {
    const loaded =
      provider.kind === 'keyset' ? load(store as KeysetSource, context) : describe(store as RemoteKek, context);
    findings = [...(await loaded), ...(await examine())];
  } catch (error) {
    findings = [await problem(store, options, error), ...(await examine().catch(() => []))];
  } finally {
    await store.close?.();
  }
  return findings.map((finding) => ({ about, ...finding }));
}

async function load(source: KeysetSource, context: { signal: AbortSignal }): Promise<Finding[]> {
  const keyset = await source.load(context);
  const { warnings, manifest } = keyset;
  keyset.destroy();
  return [
    loaded(manifest.primary, manifest.keys.length),
    ...warnings.map((warning) => damage(typeof warning === 'string' ? warning : warning.message)),
  ];
}

async function describe(remote: RemoteKek, context: { signal: AbortSignal }): Promise<Finding[]> {
  const { primary, keys, damaged } = await remote.describe(context);
  return [loaded(primary, keys.length), ...(damaged ? [damage(damaged.error.message)] : [])];
}

const damage = (text: string): Finding => ({ level: 'problem', text, remedy: `fix the key store: ${text}` });

function loaded(primary: string, keys: number): Finding {
  return { level: 'ok', text: `loaded, primary ${primary}, ${keys} key${keys === 1 ? '' : 's'} in all` };
}

/** @param options - the options of `teapot-kms keys` that name this store */
async function problem({ admin }: KeysetSource | RemoteKek, options: string, error: unknown): Promise<Finding> {
  const { message, code, remedy } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
  const finding = { level: 'problem', text: `${message} (${code})` } as const;
  if (remedy !== undefined) return { ...finding, remedy };
  const manifest = await admin?.readManifest().catch(() => 'unreadable');
  if (!admin || manifest !== undefined) return { ...finding, remedy: `fix the key store: ${message}` };
  const restore = 'if there was a keyset, mount its volume or restore it from a backup';
  return { ...finding, remedy: `${restore}; only for a new cluster: teapot-kms keys generate ${options}` };
}
