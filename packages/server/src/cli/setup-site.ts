import {
  ApiServer,
  directoryOfUri,
  generateKey,
  KmsError,
  SharedResources,
  shownUri,
  systemClock,
  withFileLock,
} from '@teapot-kms/core';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { providerName } from '../config/kms-provider.ts';
import { loadConfig, parseConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { directoryOf } from '../doctor/concrete.ts';
import { HostFiles } from '../setup/host-files.ts';
import { HostSite } from '../setup/host-site.ts';
import type { HostSiteOptions } from '../setup/host-site.ts';
import { KubeApi } from '../setup/kube-api.ts';
import { pluginConfiguration, pluginPod } from '../setup/made-files.ts';
import type { Wish } from '../setup/plan-input.ts';
import { SetupError } from '../setup/setup-error.ts';
import { makeDirectory } from '../make-directory.ts';
import { version } from '../version.ts';
import type { OpenerOptions } from './backup-options.ts';
import { withEtcd } from './etcd-options.ts';
import { UsageError } from './exit-codes.ts';
import { instanceOf, withAdmin } from './key-store.ts';
import { restoreBackup } from './keys-import.ts';
import { progressLine } from './scan-progress.ts';

export interface SetupOptions extends OpenerOptions {
  readonly apply?: boolean;
  readonly dryRun?: boolean;
  readonly undo?: boolean;
  readonly timeout: number;
  readonly config: string;
  readonly instance?: string;
  readonly uri: string;
  readonly socket: string;
  readonly import?: string;
  readonly plugin: 'systemd' | 'static-pod' | 'external';
  readonly image?: string;
  readonly resource: readonly string[];
  readonly kubernetesDirectory: string;
  readonly kubeconfig?: string;
}

/** Where packages put the unit, and where an operator does. */
const UNITS = ['/etc', '/usr/lib', '/lib', '/usr/local/lib'].map((root) => `${root}/systemd/system/teapot-kms.service`);
/** systemd keeps this directory for the plugin. All sockets below it are reached through one mount. */
const RUN = '/run/teapot-kms';

/** The node that the options describe, and what is wanted of it. */
export function siteOf(options: SetupOptions, { report, tell }: Pick<HostSiteOptions, 'report' | 'tell'>) {
  const { kubernetesDirectory: directory } = options;
  const backupDirectory = join(directory, 'teapot-kms-backup');
  const manifestDirectory = join(directory, 'manifests');
  const wish = wishOf(options, manifestDirectory);
  const store = { config: options.config, instance: wish.provider.name.slice(providerName('').length) };
  const files = new HostFiles({ manifestDirectory, backupDirectory, publicFiles: [options.config] });
  const shared = new SharedResources();
  const kubeconfig = options.kubeconfig ?? join(directory, 'admin.conf');
  const site = new HostSite({
    wish,
    files,
    backupDirectory,
    report,
    tell,
    progress: () => progressLine(systemClock, process.stderr),
    open: (origin) => new KubeApi(origin, new ApiServer({ kubeconfig, server: origin }, shared)),
    withEtcd: (flags, work) =>
      withEtcd(
        {
          etcdServers: flags.get('etcd-servers') ?? '',
          ...fileFlag(flags, 'etcd-cafile', 'etcdCafile'),
          ...fileFlag(flags, 'etcd-certfile', 'etcdCertfile'),
          ...fileFlag(flags, 'etcd-keyfile', 'etcdKeyfile'),
        },
        work,
      ),
    hasKeyset: async () => (await withAdmin(store, (admin) => admin.readManifest())) !== undefined,
    makeKeyset: async () => {
      if (options.import === undefined) await withAdmin(store, (admin) => generateKey(admin, { dryRun: false }));
      else await restoreBackup(options.import, { ...options, ...store, dryRun: false, createParents: true });
    },
    startPlugin: () => startPlugin(options),
  });
  const locked = async <T>(work: () => Promise<T>): Promise<T> => {
    makeDirectory(backupDirectory);
    const busy = (pid: string): KmsError =>
      new KmsError('ERR_KMS_KEYSET_CONFLICT', `another setup runs on this host (process ${pid})`, {
        remedy: 'wait for it',
      });
    return withFileLock(join(backupDirectory, 'lock'), { fs: nodeFs, waitMs: 0, busy }, async () => {
      await files.sweep([wish.configFile, wish.access.file]);
      return work();
    });
  };
  return { site, wish, locked };
}

const fileFlag = (flags: ReadonlyMap<string, string>, flag: string, option: string): object =>
  flags.has(flag) ? { [option]: flags.get(flag) } : {};

function wishOf(options: SetupOptions, manifestDirectory: string): Wish {
  const { config: configFile, kubernetesDirectory, resource: resources, undo = false } = options;
  const there = existsSync(configFile);
  const config = there ? loadConfig(configFile) : parseConfig(newConfiguration(options), configFile);
  const { name, socket, keys } = there ? instanceOf(options) : config.instances[0]!;
  const socketDirectory = socket.startsWith(`${RUN}/`) ? RUN : dirname(socket);
  return {
    undo,
    provider: { name: providerName(name), socket },
    resources,
    access: { file: join(kubernetesDirectory, 'teapot-kms/encryption-config.yaml'), socketDirectory },
    manifestFile: join(manifestDirectory, 'kube-apiserver.yaml'),
    configFile,
    newConfig: (minor) => newConfiguration(options, minor),
    pod:
      options.plugin === 'static-pod'
        ? { file: join(manifestDirectory, 'teapot-kms.yaml'), text: podOf(config, socketDirectory, options) }
        : undefined,
    keyset: directoryOf(keys) ?? shownUri(keys.uri),
    imports: options.import !== undefined,
  };
}

function newConfiguration({ uri, socket, instance = 'main' }: SetupOptions, minor?: number): string {
  const directory = uri.startsWith('file:') ? directoryOfUri(uri) : undefined;
  if (directory === undefined)
    throw new UsageError('--uri: only file: keys are set up here; for other key stores, write the configuration first');
  const stateDirectory = join(dirname(directory), 'state');
  return pluginConfiguration({ instance, socket, keysUri: uri, stateDirectory, minor });
}

function podOf({ http, instances, stateDirectory }: Config, socketDirectory: string, options: SetupOptions): string {
  const { image = `localhost/teapot-kms:${version}`, config } = options;
  const directories = instances.map(({ keys }) => directoryOf(keys)).filter((found) => found !== undefined);
  return pluginPod({
    image,
    config,
    socketDirectory,
    stateDirectory,
    keyDirectories: directories,
    port: http !== false && 'port' in http ? http.port : undefined,
  });
}

/** A static pod is started by the kubelet, and what is external by somebody else. */
async function startPlugin({ plugin }: SetupOptions): Promise<void> {
  if (plugin !== 'systemd') return;
  if (!UNITS.some((path) => existsSync(path))) {
    const remedy = 'install the Debian package or the tarball, or pass --plugin static-pod';
    throw new SetupError('ERR_SETUP_FAILED', 'there is no systemd unit teapot-kms.service', remedy);
  }
  try {
    for (const action of ['enable', 'restart']) await promisify(execFile)('systemctl', [action, 'teapot-kms.service']);
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new SetupError(
      'ERR_SETUP_FAILED',
      `systemctl: ${stderr?.trim() || message}`,
      'journalctl -u teapot-kms',
      error,
    );
  }
}
