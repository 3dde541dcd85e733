import { KeysetGuard } from '@teapot-kms/core';
import type { Finding, HostRecords, StoredManifest } from '@teapot-kms/core';
import type { InstanceConfig } from '../config/schema.ts';
import type { InstanceDescription } from '../observability/metrics.ts';

/** Whether store, running plugin and what this host remembers have the same keyset. */
export async function compareKeysets(
  { name, socket, keys: { uri } }: InstanceConfig,
  stored: StoredManifest | undefined,
  running: InstanceDescription | undefined,
  records: HostRecords,
): Promise<Finding[]> {
  const about = `${name}, keyset`;
  const findings: Finding[] = [];
  if (stored) {
    const { problem } = await new KeysetGuard({ name: socket, uri, records }).judge(stored, undefined);
    if (problem) {
      const { message: text, remedy } = problem;
      findings.push({ level: 'problem', about, text, ...(remedy !== undefined && { remedy }) });
    }
  }
  if (running && !running.keyset) {
    findings.push({ level: 'problem', about, text: 'the running plugin has no key loaded' });
  } else if (stored && running?.keyset && running.keyset.hash !== stored.hash && findings.length === 0) {
    const text = `the running plugin uses generation ${running.keyset.generation}, primary ${running.primary ?? 'none'}; the key store has generation ${stored.generation}, primary ${stored.primary}`;
    findings.push({ level: 'problem', about, text, remedy: 'wait for the next probe (30 s) and run doctor again' });
  }
  return findings;
}
