import { stringify } from 'yaml';
import { DEFAULT_STATE_DIRECTORY } from '../config/schema.ts';

export interface NewConfiguration {
  readonly instance: string;
  readonly socket: string;
  readonly keysUri: string;
  readonly stateDirectory: string;
  /** Minor version of Kubernetes. Only 1.28 needs settings of its own. */
  readonly minor: number | undefined;
}

/** A configuration of the plugin, for a host that has none. */
export function pluginConfiguration({ instance, socket, keysUri, stateDirectory, minor }: NewConfiguration): string {
  const beta = minor !== undefined && minor < 29 ? { kmsV2Version: 'v2beta1' } : {};
  return stringify({
    version: 1,
    ...(stateDirectory !== DEFAULT_STATE_DIRECTORY && { stateDirectory }),
    instances: [{ name: instance, socket, keys: { uri: keysUri }, ...beta }],
  });
}

export interface PluginPod {
  readonly image: string;
  /** The plugin's configuration, on the host and in the pod. */
  readonly config: string;
  /** The directory that kube-apiserver's pod mounts too. */
  readonly socketDirectory: string;
  readonly stateDirectory: string;
  /** Directories of keysets. */
  readonly keyDirectories: readonly string[];
  /** Where it answers /livez; `undefined`: nowhere. */
  readonly port: number | undefined;
}

/** The plugin as a static pod: k8s/static-pod/teapot-kms.yaml says why each setting is there. */
export function pluginPod({ image, config, port, ...directories }: PluginPod): string {
  const { socketDirectory, stateDirectory, keyDirectories } = directories;
  const parent = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';
  const mounts = [
    { name: 'run', path: socketDirectory, type: 'DirectoryOrCreate', readOnly: false },
    { name: 'config', path: parent(config), type: 'Directory', readOnly: true },
    ...[...new Set(keyDirectories.map(parent))].map((path, index) => {
      return { name: index === 0 ? 'keys' : `keys-${index + 1}`, path, type: 'Directory', readOnly: true };
    }),
    { name: 'state', path: stateDirectory, type: 'DirectoryOrCreate', readOnly: false },
  ];
  const probe = { httpGet: { host: '127.0.0.1', port, path: '/livez' }, initialDelaySeconds: 10, periodSeconds: 10 };
  return stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'teapot-kms', namespace: 'kube-system', labels: { 'app.kubernetes.io/name': 'teapot-kms' } },
    spec: {
      hostNetwork: true,
      priorityClassName: 'system-node-critical',
      terminationGracePeriodSeconds: 15,
      automountServiceAccountToken: false,
      securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'teapot-kms',
          image,
          args: ['serve', '--config', config],
          securityContext: {
            runAsUser: 0,
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          resources: { requests: { cpu: '50m', memory: '256Mi' } },
          ...(port !== undefined && { livenessProbe: { ...probe, failureThreshold: 6 } }),
          volumeMounts: mounts.map(({ name, path, readOnly }) => {
            return { name, mountPath: path, ...(readOnly && { readOnly }) };
          }),
        },
      ],
      volumes: mounts.map(({ name, path, type }) => ({ name, hostPath: { path, type } })),
    },
  });
}
