import { jittered, KeysetGuard } from '@teapot-kms/core';
import type { Finding, HostRecords, KmsError, StoredManifest } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';
import type { InstanceDescription } from '../observability/metrics.ts';

/**
 * Whether store, running plugin and what this host remembers have the same keyset.
 * @param formers - what the stores that only decrypt have
 */
export async function compareKeysets(
  { name, socket, keys: { uri }, probeInterval }: InstanceConfig,
  stored: StoredManifest | undefined,
  running: InstanceDescription | undefined,
  { records, formers }: { readonly records: HostRecords; readonly formers: readonly StoredManifest[] },
): Promise<Finding[]> {
  if (!stored) return [];
  const about = `${name}, keyset`;
  // As the plugin judges it: keys that only open do not count.
  const held = running?.primary === undefined ? undefined : running.keyset;
  const guard = new KeysetGuard({
    name: socket,
    uri,
    records,
    decryptOnly: () => Promise.resolve(formers.map(({ contextId }) => contextId)),
  });
  const { problem } = await guard.judge(stored, held);
  if (problem) return [findingOf('problem', about, problem)];
  // A running plugin says it itself.
  if (!running) return guard.hints.map((hint) => findingOf('hint', about, hint));
  if (!running.keyset || running.keyset.hash === stored.hash) return [];
  const text = `the running plugin uses generation ${running.keyset.generation}, primary ${running.primary ?? 'none'}; the key store has generation ${stored.generation}, primary ${stored.primary}`;
  const longest = Math.ceil(jittered(probeInterval, () => 1) / 1000);
  const remedy = `wait for the next probe (${longest} s at most), and run doctor again`;
  return [{ level: 'problem', about, text, remedy }];
}

const findingOf = (level: Finding['level'], about: string, { message, code, remedy }: KmsError): Finding => ({
  level,
  about,
  text: `${message} (${code})`,
  ...(remedy !== undefined && { remedy }),
});
