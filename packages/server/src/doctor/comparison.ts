import { jittered, KeysetGuard, RESTORE_NEWEST, safeText } from '@teapot-kms/core';
import type { Finding, HostRecords, KmsError, ReplicaReport, StoredManifest } from '@teapot-kms/core';
import { dirname } from 'node:path';
import type { InstanceConfig } from '../config/schema.ts';
import type { InstanceDescription } from '../observability/metrics.ts';
import { directoryOf } from './concrete.ts';

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
  const guard = new KeysetGuard({ name: socket, uri, records });
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

/** Whether other replicas have the keyset that is here. @param reports - of "teapot-kms status --report" */
export function compareReplicas(
  { name, keys }: InstanceConfig,
  stored: StoredManifest | undefined,
  reports: readonly ReplicaReport[],
): Finding[] {
  const ours = reports.filter(({ contextId }) => contextId === stored?.contextId);
  return ours.map(({ host: given, generation, hash, keys: reported }): Finding => {
    const host = safeText(given, MAX_HOST);
    const about = `${name}, replica on ${host}`;
    const differs = (text: string, remedy: string): Finding => ({ level: 'problem', about, text, remedy });
    const held = new Set(reported.map(({ id }) => id));
    const lacking = stored!.keys.filter(({ id, state }) => state !== 'retired' && !held.has(id)).map(({ id }) => id);
    if (hash === stored!.hash) {
      if (lacking.length === 0) return { level: 'ok', about, text: 'has the same keyset' };
      return differs(`has not loaded ${lacking.join(', ')}`, `run doctor on ${host}: it says why, and what to do`);
    }
    const text = `uses generation ${generation} of the keyset, and the key store here has generation ${stored!.generation}`;
    const directory = directoryOf(keys);
    if (directory === undefined) {
      return differs(text, `wait for the next probe of the plugin on ${host}, and make a new report there`);
    }
    if (generation === stored!.generation) return differs(text, RESTORE_NEWEST);
    const newer = generation > stored!.generation;
    const command = newer
      ? `scp -rp ${host}:${directory} ${dirname(directory)}/`
      : `scp -rp ${directory} ${host}:${dirname(directory)}/`;
    return differs(text, `copy the newer keyset: ${command}, and make new reports`);
  });
}

const MAX_HOST = 253;
