import { Daemon, launcher } from '@teapot-kms/testing/daemons';
import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where the kubelet mounts a pod's service account. */
const MOUNT_POINT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Own namespaces for users and mounts: no root is needed, and no other process sees the mount. */
const UNSHARE = ['unshare', '--mount', '--map-root-user', '--'] as const;

/** Why there can be no pods here, or `undefined`. */
export function whyNoPods(): string | undefined {
  const [command, ...args] = UNSHARE;
  if (spawnSync(command, [...args, 'true']).status === 0) return undefined;
  return 'install util-linux, and allow user namespaces (kernel.unprivileged_userns_clone=1)';
}

/** The volume with a service account's token, written as the kubelet writes it: each time a new directory, then one symlink. */
export class ServiceAccountVolume {
  readonly directory: string;
  #versions = 0;

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory);
    for (const name of ['token', 'ca.crt', 'namespace']) symlinkSync(`..data/${name}`, join(directory, name));
  }

  /** Rotates the token. */
  write(files: { readonly token: string; readonly 'ca.crt': Buffer; readonly namespace: string }): void {
    const before = `..${this.#versions}`;
    const version = `..${++this.#versions}`;
    mkdirSync(join(this.directory, version));
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(this.directory, version, name), content, { mode: 0o600 });
    }
    symlinkSync(version, join(this.directory, '..data_tmp'));
    renameSync(join(this.directory, '..data_tmp'), join(this.directory, '..data'));
    rmSync(join(this.directory, before), { recursive: true, force: true });
  }
}

/** The plugin as a pod's container has it: a service account, the API's address in the environment, and no kubeconfig. */
export function startInPod(config: string, volume: ServiceAccountVolume, apiUrl: string, logFile: string): Daemon {
  const mount =
    'mount -t tmpfs none /var/run/ && mkdir -p "$1" && mount --bind "$0" "$1" && shift && cd / && exec "$@"';
  const [command, ...args] = UNSHARE;
  return new Daemon({
    name: 'the plugin',
    command,
    args: [
      ...args,
      ...['sh', '-c', mount, volume.directory, MOUNT_POINT],
      ...[launcher(), 'serve', '--config', config],
    ],
    logFile,
    env: {
      HOME: '/nonexistent',
      KUBECONFIG: '',
      KUBERNETES_SERVICE_HOST: new URL(apiUrl).hostname,
      KUBERNETES_SERVICE_PORT: new URL(apiUrl).port,
    },
  });
}
