import { HostRecords, systemClock } from '@teapot-kms/core';
import type { Finding, ReplicaReport, StoredManifest } from '@teapot-kms/core';
import type { Config } from '../config/schema.ts';
import { said, withoutRepeats } from './causes.ts';
import { clockFindings } from './clock.ts';
import { compareKeysets } from './comparison.ts';
import { concrete } from './concrete.ts';
import { coreDumps, socketDirectory, stateDirectory } from './host.ts';
import { examineHttp } from './http.ts';
import { examineFormerStores } from './former-stores.ts';
import { ownerFinding } from './keyset-owner.ts';
import { examineKeyStore } from './key-store.ts';
import { credentialsOf, servingProcess, unreadableFiles, userOf } from './plugin-user.ts';
import { compareReplicas, foreignReport } from './replicas.ts';
import { askPlugin } from './running.ts';
import type { RunningPlugin } from './running.ts';

/**
 * Checks each part after the parts that it depends on: key store, keyset, socket, answers, and the host.
 * @param file - of the configuration
 * @param reports - of other replicas
 */
export async function* diagnose(
  config: Config,
  file: string,
  reports: readonly ReplicaReport[] = [],
): AsyncGenerator<Finding> {
  const records = new HostRecords(config.stateDirectory);
  const now = new Date(systemClock.wall());
  const manifests: StoredManifest[] = [];
  let running: RunningPlugin | undefined;
  const hints = new Set<string>();
  const serving = servingProcess(file);
  const credentials = serving === undefined ? undefined : credentialsOf(serving);
  if (credentials !== undefined) process.env['CREDENTIALS_DIRECTORY'] ??= credentials;
  const user = userOf(serving, config.stateDirectory);
  for (const instance of config.instances) {
    const { findings: answers, description } = await askPlugin(instance, serving);
    const record = await records.read(instance.socket).catch(() => 'unreadable' as const);
    const used = record !== undefined || holdsKeys(description, serving);
    const { findings, manifest, proofs } = await examineKeyStore(instance, used, reports);
    const formers = await examineFormerStores(instance, user, description !== undefined);
    const about = `${instance.name}, the plugin says`;
    const all = [
      ...findings,
      ...(description ? [] : unreadableFiles(instance, user)),
      ...(await ownerFinding(instance, user.uid)),
      ...formers.findings,
      ...(await compareKeysets(instance, manifest, description, { records, formers: formers.manifests })),
      ...compareReplicas(instance, manifest, reports, { proofs, now }),
      socketDirectory(instance, user),
      ...answers,
      ...said('problem', about, description?.warnings ?? []),
      ...said(
        'hint',
        about,
        (description?.hints ?? []).filter((text) => !hints.has(text)),
      ),
    ];
    for (const { remedy, ...finding } of withoutRepeats(all)) {
      yield { ...finding, ...(remedy !== undefined && { remedy: concrete(remedy, instance, file) }) };
    }
    for (const text of description?.hints ?? []) hints.add(text);
    if (manifest) manifests.push(manifest);
    running ??= description;
  }
  yield* reports.filter(({ contextId }) => !manifests.some((one) => one.contextId === contextId)).map(foreignReport);
  yield* clockFindings({ manifests, reports, now: now.getTime() });
  if (!running) yield* stateDirectory(config.stateDirectory, user);
  yield* await examineHttp(config.http, running?.pid, file);
  yield coreDumps(running);
}

/** Whether a plugin has keys in memory, as far as can be known: one that does not answer may. */
function holdsKeys(description: RunningPlugin | undefined, serving: number | undefined): boolean {
  if (!description) return serving !== undefined;
  return description.keyset !== undefined || description.keys.length > 0;
}
