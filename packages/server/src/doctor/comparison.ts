import { KeysetGuard } from '@teapot-kms/core';
import type { Finding, HostRecords, StoredManifest } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';
import type { InstanceDescription } from '../observability/metrics.ts';

/** Whether store, running plugin and what this host remembers have the same keyset. */
export async function compareKeysets(
  { name, socket, keys: { uri }, probeInterval }: InstanceConfig,
  stored: StoredManifest | undefined,
  running: InstanceDescription | undefined,
  records: HostRecords,
): Promise<Finding[]> {
  if (!stored) return [];
  const about = `${name}, keyset`;
  // As the plugin judges it: keys that only open do not count.
  const held = running?.primary === undefined ? undefined : running.keyset;
  const { problem } = await new KeysetGuard({ name: socket, uri, records }).judge(stored, held);
  if (problem) {
    const { message, code, remedy } = problem;
    return [{ level: 'problem', about, text: `${message} (${code})`, ...(remedy !== undefined && { remedy }) }];
  }
  if (!running?.keyset || running.keyset.hash === stored.hash) return [];
  const text = `the running plugin uses generation ${running.keyset.generation}, primary ${running.primary ?? 'none'}; the key store has generation ${stored.generation}, primary ${stored.primary}`;
  const remedy = `wait for the next probe (${probeInterval / 1000} s), and run doctor again`;
  return [{ level: 'problem', about, text, remedy }];
}
