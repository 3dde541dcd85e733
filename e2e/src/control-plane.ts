import { until } from '@teapot-kms/testing';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findBinaries } from './binaries.ts';
import { encryptionConfiguration } from './encryption-configuration.ts';
import { Etcd } from './etcd.ts';
import { KubeApiserver } from './kube-apiserver.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { untilDefaultNamespace } from './objects.ts';
import { Plugin } from './plugin.ts';
import { teapot } from './teapot-cli.ts';

/** A control-plane node: a kube-apiserver, its plugin, and a keyset directory. */
export interface ControlPlaneNode {
  readonly name: string;
  readonly keyset: string;
  readonly plugin: Plugin;
  readonly apiserver: KubeApiserver;
  /** kube-apiserver or its plugin is being killed and started, so that requests to this node may fail. */
  down: boolean;
}

/** kube-apiservers with one etcd, each with a plugin and a copy of one keyset, as on the nodes of a cluster. Needs root. */
export class ControlPlane {
  readonly directory: string;
  readonly etcd: Etcd;
  readonly nodes: readonly ControlPlaneNode[];

  private constructor(directory: string, etcd: Etcd, nodes: readonly ControlPlaneNode[]) {
    this.directory = directory;
    this.etcd = etcd;
    this.nodes = nodes;
  }

  /** @throws MissingBinary */
  static async start(kubernetes: string, names: readonly string[]): Promise<ControlPlane> {
    const binaries = findBinaries(kubernetes);
    const directory = mkdtempSync(join(tmpdir(), 'teapot-nodes-'));
    const etcd = await Etcd.start(binaries, directory);
    const nodes: ControlPlaneNode[] = [];
    for (const name of names) {
      const own = join(directory, name);
      mkdirSync(own, { mode: 0o700 });
      const keyset = join(own, 'keyset');
      const uri = `file:${keyset}`;
      if (nodes[0]) cpSync(nodes[0].keyset, keyset, { recursive: true });
      else await teapot(['keys', 'generate', '--uri', uri]);
      const options = { directory: own, logFile: join(own, 'plugin.log'), settings: { probeInterval: '1s' } };
      const plugin = await Plugin.prepare(options, { keys: { uri }, env: {} });
      const apiserver = await KubeApiserver.prepare({
        binary: binaries.kubeApiserver,
        directory: own,
        etcdUrl: etcd.url,
        logFile: join(own, 'kube-apiserver.log'),
        hostname: name,
      });
      const encrypted = [{ resources: ['secrets'], providers: ['v2'] }] as const;
      apiserver.setEncryption(await encryptionConfiguration(plugin.configFile, encrypted), []);
      nodes.push({ name, keyset, plugin, apiserver, down: false });
    }
    const made = new ControlPlane(directory, etcd, nodes);
    for (const { plugin, apiserver } of nodes) {
      await plugin.start();
      await apiserver.start();
    }
    await untilDefaultNamespace(made.nodes[0]!.apiserver.client);
    return made;
  }

  /** Writes a kubeconfig of an administrator, which trusts all of them. */
  kubeconfig(): string {
    const servers = this.nodes.map(({ apiserver }) => apiserver);
    return writeKubeconfig(join(this.directory, 'admin.kubeconfig'), servers);
  }

  async restartPlugin(node: ControlPlaneNode): Promise<void> {
    await node.plugin.kill();
    await node.plugin.start();
  }

  async restartApiserver(node: ControlPlaneNode): Promise<void> {
    node.down = true;
    await node.apiserver.restart();
    await until(`${node.name} serves`, () => node.apiserver.client.get('/api/v1/namespaces/default'));
    node.down = false;
  }

  async close(keep: boolean): Promise<void> {
    await Promise.all(this.nodes.map(({ apiserver }) => apiserver.stop()));
    await Promise.all(this.nodes.map(({ plugin }) => plugin.kill()));
    await this.etcd.stop();
    if (keep) console.log(`logs are in ${this.directory}`);
    else rmSync(this.directory, { recursive: true, force: true });
  }
}
