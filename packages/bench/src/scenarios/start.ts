import { Daemon, nodeFlags } from '@teapot-kms/testing/daemons';
import { until } from '@teapot-kms/testing';
import { generateKey, providerFor, SharedResources } from '@teapot-kms/core';
import type { KeysetSource } from '@teapot-kms/core';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PluginServer, untilReady } from '../load/plugin.ts';
import type { PluginInstance } from '../load/plugin.ts';
import { memoryKb } from '../load/process-usage.ts';
import { Rig } from '../load/rig.ts';
import type { Recorder } from '../recorder.ts';
import type { Scenario } from '../scenario.ts';

const STARTS = 11;
const MEMORY_SAMPLES = 3;
const FURTHER_INSTANCES = 200;
/** ms until V8 has collected the garbage of the start. */
const SETTLE_MS = 8_000;

export const start: Scenario = {
  name: 'start',
  about: 'a static pod starts: time to the first good Status; memory of one instance and of each further one',
  async run(record) {
    await using rig = new Rig();
    const instances = await makeInstances(rig.path(), 2 + FURTHER_INSTANCES);
    await startTimes(record, rig, instances.slice(0, 1));
    await memory(record, rig, instances);
  },
};

/** Creates instances, each with a file keyset. */
async function makeInstances(directory: string, count: number): Promise<PluginInstance[]> {
  const names = Array.from({ length: count }, (_, index) => `tenant-${index}`);
  return Promise.all(
    names.map(async (name) => {
      const uri = `file:${join(directory, name)}`;
      const provider = providerFor(uri);
      const source = provider.open(uri, provider.settings.parse({}), new SharedResources()) as KeysetSource;
      await generateKey(source.admin!);
      await source.close?.();
      return { name, keys: { uri } };
    }),
  );
}

/** Measures starts next to `node -e 0`, which no program on Node can beat. */
async function startTimes(record: Recorder, rig: Rig, instances: readonly PluginInstance[]): Promise<void> {
  const ours: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < STARTS; round++) {
    bare.push(await bareNode(rig.path()));
    const directory = rig.path();
    const started = performance.now();
    const plugin = new PluginServer({ directory, instances });
    rig.ends(plugin);
    await untilListening(plugin);
    await untilReady(plugin);
    ours.push(performance.now() - started);
    await plugin.stop();
  }
  // The first start fills the page cache and warms up the client, so it does not count.
  record.figure('start-ms', ours.slice(1));
  record.measured('node -e 0, start to end', 'ms', bare.slice(1));
}

/** Waits for the socket. A client that finds none would retry only after a second. */
async function untilListening({ socket, daemon }: PluginServer): Promise<void> {
  const listens = (): boolean => {
    daemon.checkRunning();
    return existsSync(socket);
  };
  await until('the plugin listens', listens, { everyMs: 1 });
}

async function bareNode(logFile: string): Promise<number> {
  const started = performance.now();
  const args = [...nodeFlags(), '-e', '0'];
  const options = { name: 'node', command: process.execPath, args, logFile };
  const { code } = await new Daemon(options).exited;
  if (code !== 0) throw new Error('node -e 0 failed');
  return performance.now() - started;
}

async function memory(record: Recorder, rig: Rig, instances: readonly PluginInstance[]): Promise<void> {
  const one: number[] = [];
  const each: number[] = [];
  for (let round = 0; round < MEMORY_SAMPLES; round++) {
    const [alone, many] = await Promise.all([
      residentKb(rig, instances.slice(0, 1)),
      residentKb(rig, instances.slice(1)),
    ]);
    one.push(alone / 1024);
    each.push((many - alone) / FURTHER_INSTANCES);
  }
  record.figure('rss-mb', one);
  record.figure('rss-kb-per-instance', each);
}

/** Returns the resident memory of an idle process that has served a Status. */
async function residentKb(rig: Rig, instances: readonly PluginInstance[]): Promise<number> {
  const plugin = await rig.start({ instances });
  await sleep(SETTLE_MS);
  const { rss } = memoryKb(plugin.pid);
  await plugin.stop();
  return rss;
}
