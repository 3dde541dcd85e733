import type { Clock } from '@teapot-kms/core';
import type { Plan, PlanInput, ServerState, Wish } from './plan-input.ts';

/** Files of this host with a text. A write is whole or not there, whenever the process or the host dies. */
export interface TextFiles {
  /** `undefined`: there is none. */
  read(path: string): Promise<string | undefined>;
  /** Keeps owner and mode of a file that is there. A new one is for its owner only. */
  write(path: string, text: string): Promise<void>;
  remove(path: string): Promise<void>;
}

/** What a setup does to the world, and how it looks at it. */
export interface Site {
  readonly clock: Clock;
  readonly files: TextFiles;
  /** A directory for backups and the journal. The kubelet runs every file in that of its manifests, so this is another one. */
  readonly backupDirectory: string;
  /** Called before each step. */
  readonly report: (step: Plan) => void;
  /** Receives what else an operator should know meanwhile. */
  readonly tell: (text: string) => void;
  hasKeyset(): Promise<boolean>;
  /** Imports the keyset, or makes a new one. */
  makeKeyset(): Promise<void>;
  startPlugin(): Promise<void>;
  plugin(): Promise<PlanInput['plugin']>;
  /** kube-apiserver of this node, as it is now. */
  server(): Promise<ServerState>;
  /** Those of the other nodes. */
  others(): Promise<readonly ServerState[]>;
  /** Whether a kube-apiserver writes with our provider: an object is written through it. @param name - default: that of this node */
  writes(name?: string): Promise<boolean>;
  /** Minor version of Kubernetes. */
  minor(): Promise<number | undefined>;
  clusterConfiguration(): Promise<string | undefined>;
  setClusterConfiguration(text: string): Promise<void>;
  /** Counts the objects in etcd that need our provider. `undefined`: etcd cannot be read. @param most - the count ends when it has so many */
  needed(most?: number): Promise<number | undefined>;
}

/** Looks at everything that the next step depends on. */
export async function observe(
  site: Site,
  wish: Wish,
  named: (input: Pick<PlanInput, 'wish' | 'files'>) => string | undefined,
): Promise<PlanInput> {
  const paths = [wish.manifestFile, wish.access.file, wish.configFile, ...(wish.pod ? [wish.pod.file] : [])];
  const files = new Map<string, string>();
  const read = async (path: string): Promise<void> => {
    const text = await site.files.read(path);
    if (text !== undefined) files.set(path, text);
  };
  for (const path of paths) await read(path);
  const configuration = named({ wish, files });
  if (configuration !== undefined) await read(configuration);
  const joined = files.has(wish.manifestFile);
  const server = joined ? await site.server() : undefined;
  const answers = server?.startedAt !== undefined;
  const others = answers ? await site.others() : [];
  return {
    wish,
    files,
    hasKeyset: files.has(wish.configFile) && (await site.hasKeyset()),
    plugin: files.has(wish.configFile) ? await site.plugin() : { problem: 'it has no configuration' },
    clusterConfiguration: answers ? await site.clusterConfiguration() : undefined,
    server,
    others,
    minor: answers ? await site.minor() : undefined,
    needed: undefined,
  };
}
