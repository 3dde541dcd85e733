// A control-plane node as a model: files, and a kube-apiserver that follows them as the kubelet and automatic reload do.
import type { Clock } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';
import { flagsOf } from '../../../src/setup/api-server-pod.ts';
import { positionOf } from '../../../src/kubernetes/encryption-providers.ts';
import type { Position } from '../../../src/kubernetes/encryption-providers.ts';
import type { Plan, PlanInput, ServerState, Wish } from '../../../src/setup/plan-input.ts';
import type { Site, TextFiles } from '../../../src/setup/site.ts';

export const HASH = 'sha256:aa';
const manifest = readFileSync(new URL('../manifests/v1.37.2.yaml', import.meta.url), 'utf8');
export const MANIFEST = '/etc/kubernetes/manifests/kube-apiserver.yaml';
export const ENCRYPTION = '/etc/kubernetes/teapot-kms/encryption-config.yaml';
export const CONFIG = '/etc/teapot-kms/config.yaml';

export const wish: Wish = {
  undo: false,
  provider: { name: 'teapot-main', socket: '/run/teapot-kms/main/kms.sock' },
  resources: ['secrets'],
  access: { file: ENCRYPTION, socketDirectory: '/run/teapot-kms' },
  manifestFile: MANIFEST,
  configFile: CONFIG,
  newConfig: () => 'version: 1\n',
  pod: undefined,
  keyset: '/var/lib/teapot-kms/main',
  imports: false,
};
export const undo: Wish = { ...wish, undo: true };

/** Time passes as soon as somebody waits. */
class HastyClock implements Clock {
  #now = 0;
  now = (): number => this.#now;
  wall = (): number => this.#now;
  after(ms: number, fn: () => void): () => void {
    const timer = setImmediate(() => {
      this.#now += ms;
      fn();
    });
    return () => clearImmediate(timer);
  }
}

const flags = new Map<string, string | undefined>();
/** To parse a manifest is what the tests would spend their time on. */
function flagOf(text: string): string | undefined {
  if (!flags.has(text)) flags.set(text, flagsOf(text, MANIFEST).get('encryption-provider-config'));
  return flags.get(text);
}

export class Killed extends Error {
  override readonly name = 'Killed';
}

/** Dies before or after the change with this number. */
export interface Death {
  change: number;
  when: 'before' | 'after';
}

export class ModelSite implements Site {
  readonly clock = new HastyClock();
  readonly backupDirectory = '/etc/kubernetes/teapot-kms-backup';
  readonly texts = new Map<string, string>([[MANIFEST, manifest]]);
  readonly steps: string[] = [];
  /** Positions of our provider that kube-apiserver has had, as they changed. */
  readonly history: Position[] = [];
  keyset = false;
  pluginRuns = false;
  kubeadm: string | undefined = 'apiServer: {}\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n';
  otherServers: ServerState[] = [];
  neededObjects: number | undefined = 0;
  /** What is wrong with kube-apiserver, by the position of our provider in what it would use. */
  broken: (position: Position) => boolean = () => false;
  /** Runs at each look at kube-apiserver. */
  meanwhile = (): void => undefined;
  death: Death | undefined;
  changes = 0;
  #manifest = manifest;
  #startedAt = 1;

  readonly files: TextFiles = {
    read: (path) => Promise.resolve(this.texts.get(path)),
    write: (path, text) => this.change(() => this.texts.set(path, text)),
    remove: (path) => this.change(() => this.texts.delete(path)),
  };

  readonly report = ({ step }: Plan): void => void this.steps.push(step);
  readonly told: string[] = [];
  readonly tell = (text: string): void => void this.told.push(text);

  get position(): Position {
    const flag = flagOf(this.texts.get(MANIFEST)!);
    return flag === undefined ? 'absent' : positionOf(this.texts.get(flag), flag, wish.provider.name);
  }

  change(work: () => void): Promise<void> {
    this.changes++;
    const dies = this.death?.change === this.changes;
    if (!dies || this.death?.when === 'after') work();
    return dies ? Promise.reject(new Killed()) : Promise.resolve();
  }

  hasKeyset = (): Promise<boolean> => Promise.resolve(this.keyset);
  makeKeyset = (): Promise<void> => this.change(() => (this.keyset = true));
  startPlugin = (): Promise<void> => this.change(() => (this.pluginRuns = true));
  plugin = (): Promise<PlanInput['plugin']> =>
    Promise.resolve(this.pluginRuns ? { keyIdHash: HASH, version: 'v2' } : { problem: 'no such file' });
  minor = (): Promise<number> => Promise.resolve(37);
  others = (): Promise<ServerState[]> => Promise.resolve(this.otherServers);
  clusterConfiguration = (): Promise<string | undefined> => Promise.resolve(this.kubeadm);
  setClusterConfiguration = (text: string): Promise<void> => this.change(() => (this.kubeadm = text));
  needed = (): Promise<number | undefined> => Promise.resolve(this.neededObjects);

  server(): Promise<ServerState> {
    this.meanwhile();
    if (this.texts.get(MANIFEST) !== this.#manifest) {
      this.#manifest = this.texts.get(MANIFEST)!;
      this.#startedAt++;
    }
    const { position } = this;
    if (this.history.at(-1) !== position) this.history.push(position);
    const startedAt = this.broken(position) ? undefined : this.#startedAt;
    const keyIdHash = startedAt !== undefined && position !== 'absent' ? HASH : undefined;
    const problem = startedAt === undefined ? { problem: 'connection refused' } : {};
    return Promise.resolve({ name: 'node-1', startedAt, keyIdHash, ...problem });
  }

  writes(name?: string): Promise<boolean> {
    const other = this.otherServers.find((one) => one.name === name);
    return Promise.resolve(name === undefined ? this.position === 'writes' : (other?.writes ?? false));
  }
}
