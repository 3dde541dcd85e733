import { KmsError, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetSource, Finding as StoreFinding, RemoteKek } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';
import type { Finding } from './finding.ts';

/** ms that a key store may take for all that is asked of it here. */
const TIMEOUT_MS = 30_000;

/** Whether the key store of an instance can be used from here, asked directly and not through the plugin that runs. */
export async function examineKeyStore({ name, keys: { uri, ...settings } }: InstanceConfig): Promise<Finding[]> {
  const context = { signal: AbortSignal.timeout(TIMEOUT_MS) };
  const shared = new SharedResources();
  const provider = providerFor(uri);
  const store = provider.open(uri, settings, shared);
  const about = `${name}, keys ${store.uri}`;
  const which = provider.kind === 'keyset' ? `--uri ${store.uri}` : `--config FILE --instance ${name}`;
  try {
    const loaded =
      provider.kind === 'keyset'
        ? await load(store as KeysetSource, context)
        : await describe(store as RemoteKek, context);
    return [...loaded, ...((await store.examine?.(context)) ?? [])].map((remark) => ({ about, ...remark }));
  } catch (error) {
    return [
      { about, ...problem(which, error) },
      ...((await store.examine?.(context).catch(() => [])) ?? []).map((remark) => ({ about, ...remark })),
    ];
  } finally {
    await store.close?.();
  }
}

async function load(source: KeysetSource, context: { signal: AbortSignal }): Promise<StoreFinding[]> {
  const keyset = await source.load(context);
  const { warnings, manifest } = keyset;
  keyset.destroy();
  return [loaded(manifest.primary, manifest.keys.length), ...warnings.map(trouble)];
}

async function describe(remote: RemoteKek, context: { signal: AbortSignal }): Promise<StoreFinding[]> {
  const { primary, keys, damaged } = await remote.describe(context);
  return [loaded(primary, keys.length), ...(damaged ? [trouble(damaged.message)] : [])];
}

const trouble = (text: string): StoreFinding => ({ level: 'problem', text, remedy: `mend the key store: ${text}` });

function loaded(primary: string, keys: number): StoreFinding {
  return { level: 'ok', text: `loaded, primary ${primary}, ${keys} key${keys === 1 ? '' : 's'} in all` };
}

function problem(which: string, error: unknown): StoreFinding {
  const { message, code } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
  const command = /run: (.*?)(?: \(or .*)?$/.exec(message)?.[1];
  const missing = message.includes('keyset.yaml: no such file')
    ? `make the keyset (teapot-kms keys generate ${which}), or mount the volume that holds it`
    : undefined;
  return {
    level: 'problem',
    text: `${message} (${code})`,
    remedy: command ?? missing ?? `mend the key store: ${message}`,
  };
}
