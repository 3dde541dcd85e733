import { HostRecords } from '@teapot-kms/core';
import type { Finding, StoredManifest } from '@teapot-kms/core';
import type { Config } from '../config/schema.ts';
import { compareKeysets } from './comparison.ts';
import { clockFinding, coreDumps, socketDirectory } from './host.ts';
import { examineHttp } from './http.ts';
import { examineKeyStore } from './key-store.ts';
import { askPlugin } from './running.ts';
import type { RunningPlugin } from './running.ts';

/** Checks each part after the parts that it depends on: key store, keyset, socket, answers, and the host. */
export async function* diagnose(config: Config): AsyncGenerator<Finding> {
  const records = new HostRecords(config.stateDirectory);
  const manifests: StoredManifest[] = [];
  let running: RunningPlugin | undefined;
  for (const instance of config.instances) {
    const { findings: answers, description } = await askPlugin(instance);
    const record = await records.read(instance.socket).catch(() => undefined);
    const used = record !== undefined || description?.keyset !== undefined;
    const { findings, manifest } = await examineKeyStore(instance, used);
    yield* findings;
    yield* await compareKeysets(instance, manifest, description, records);
    yield socketDirectory(instance);
    yield* answers;
    const about = `${instance.name}, the plugin says`;
    for (const text of description?.warnings ?? []) yield { level: 'problem', about, text };
    if (manifest) manifests.push(manifest);
    running ??= description;
  }
  yield* clockFinding(manifests);
  yield* await examineHttp(config.http, running?.pid);
  yield coreDumps(running);
}
