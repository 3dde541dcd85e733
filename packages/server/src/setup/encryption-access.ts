import { dirname } from 'node:path';

/** What kube-apiserver needs to encrypt: its configuration, and the directory of the plugin's socket. */
export interface EncryptionAccess {
  /** The EncryptionConfiguration. */
  readonly file: string;
  readonly socketDirectory: string;
}

/** kube-apiserver's flags, without their dashes. */
export const CONFIG_FLAG = 'encryption-provider-config';
export const RELOAD_FLAG = 'encryption-provider-config-automatic-reload';

/** A directory of the host in kube-apiserver's pod. */
export interface HostDirectory {
  readonly name: string;
  readonly path: string;
  readonly type: 'Directory' | 'DirectoryOrCreate';
}

export const CONFIG_VOLUME = 'teapot-kms-config';
export const SOCKET_VOLUME = 'teapot-kms-socket';

export const flagsFor = ({ file }: EncryptionAccess): ReadonlyMap<string, string> =>
  new Map([
    [CONFIG_FLAG, file],
    [RELOAD_FLAG, 'true'],
  ]);

/**
 * Directories, and not the files in them: a file that is replaced, and the socket of each new process, would be another one than what is mounted.
 */
export const directoriesFor = ({ file, socketDirectory }: EncryptionAccess): readonly HostDirectory[] => [
  { name: CONFIG_VOLUME, path: dirname(file), type: 'Directory' },
  // After a boot the kubelet may start kube-apiserver before the plugin.
  { name: SOCKET_VOLUME, path: socketDirectory, type: 'DirectoryOrCreate' },
];
