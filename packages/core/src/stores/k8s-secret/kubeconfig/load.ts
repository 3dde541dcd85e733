import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { KmsError, unavailable } from '../../../errors.ts';
import { safeText } from '../../../util/safe-text.ts';
import { formatProblems, parseYaml } from '../../../util/yaml-document.ts';
import { kubeconfigSchema } from './schema.ts';
import type { Cluster, Kubeconfig, User } from './schema.ts';

export interface KubeconfigOptions {
  /** A kubeconfig. Default: what kubectl takes, that is `KUBECONFIG`, `~/.kube/config`, or the pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** A context of it. Default: its current one. */
  readonly context?: string | undefined;
}

/** A cluster or user as one file has it. */
export interface Entry<T> {
  /** For error messages: the file, and the entry in it. */
  readonly where: string;
  /** Relative paths in `value` start here. */
  readonly directory: string;
  readonly value: T;
}

/** How to reach one cluster as one user. */
export interface Target {
  /** For instance `context "admin@kind" of /root/.kube/config`. */
  readonly description: string;
  readonly cluster: Entry<Cluster>;
  readonly user: Entry<User>;
}

/** Where the kubelet mounts a pod's service account. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Bytes of a kubeconfig, or of a file that it names. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

type File = Kubeconfig & { readonly path: string };

/**
 * Reads kubeconfigs as client-go does (tools/clientcmd): of several files in `KUBECONFIG`, the first that has an entry of a
 * name or a current context wins, and missing files are skipped. Where they name no context, a pod's service account is used.
 *
 * @param env - the environment
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI` for content that cannot be used, `ERR_KMS_STORE_UNAVAILABLE` for a file that
 * cannot be read
 */
export async function loadTarget({ kubeconfig, context }: KubeconfigOptions, env: NodeJS.ProcessEnv): Promise<Target> {
  const paths = kubeconfig === undefined ? defaultPaths(env) : [kubeconfig];
  const files: File[] = [];
  for (const path of new Set(paths)) {
    const file = await readKubeconfig(path, kubeconfig === undefined);
    if (file) files.push(file);
  }
  const current = files.find((file) => file['current-context'] !== undefined);
  const name = context ?? current?.['current-context'];
  if (name !== undefined) return targetOf(files, name, paths);
  if (kubeconfig === undefined && env['KUBERNETES_SERVICE_HOST'] && env['KUBERNETES_SERVICE_PORT']) {
    return serviceAccount(env['KUBERNETES_SERVICE_HOST'], env['KUBERNETES_SERVICE_PORT']);
  }
  const looked = files.length > 0 ? `${paths.join(', ')}: no current-context` : `no kubeconfig: ${paths.join(', ')}`;
  throw unusable(`${looked}, and no service account of a pod`, 'set "kubeconfig", "context" or KUBECONFIG');
}

/**
 * Reads a file that a kubeconfig is, or names.
 * @param where - what names it, for the message
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`
 */
export async function readNamedFile(path: string, where: string): Promise<Buffer> {
  try {
    const info = await stat(path);
    if (!info.isFile() || info.size > MAX_FILE_BYTES) throw new Error('not a file of a reasonable size');
    return await readFile(path);
  } catch (cause) {
    const { code = (cause as Error).message } = cause as NodeJS.ErrnoException;
    const remedy = `make ${path} a file that this user can read`;
    throw unavailable(`${where}: cannot read ${path}: ${code}`, { cause, remedy });
  }
}

/** What in a kubeconfig cannot be used, and why. */
export function unusable(message: string, remedy = 'correct the kubeconfig'): KmsError {
  return new KmsError('ERR_KMS_INVALID_URI', message, { remedy });
}

function defaultPaths({ KUBECONFIG: list, HOME: home }: NodeJS.ProcessEnv): string[] {
  if (list) return list.split(':').filter((path) => path !== '');
  return home ? [join(home, '.kube/config')] : [];
}

async function readKubeconfig(path: string, mayBeMissing: boolean): Promise<File | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readNamedFile(path, 'kubeconfig');
  } catch (error) {
    const { code } = (error as KmsError).cause as NodeJS.ErrnoException;
    if (mayBeMissing && code === 'ENOENT') return undefined;
    throw error;
  }
  const { value, problems } = parseYaml(bytes.toString('utf8') || '{}', kubeconfigSchema);
  if (value) return { ...value, path };
  const [problem] = problems;
  // A parser's message may repeat a piece of the file.
  const message = problem!.path === '' ? 'expected a kubeconfig: YAML without aliases' : problem!.message;
  throw unusable(formatProblems(path, [{ ...problem!, message }]));
}

function targetOf(files: readonly File[], context: string, paths: readonly string[]): Target {
  const find = <T extends { name: string }>(
    field: string,
    name: string | undefined,
    of: (file: File) => readonly T[],
  ) => {
    for (const file of files) {
      const found = of(file).find((entry) => entry.name === name);
      if (found) return { found, file };
    }
    const wanted = name === undefined ? `no ${field} in context ${quote(context)}` : `no ${field} ${quote(name)}`;
    throw unusable(`${paths.join(', ')}: ${wanted}`);
  };
  const entry = <T>(field: string, { path }: File, name: string, value: T): Entry<T> => ({
    where: `${path}: ${field} ${quote(name)}`,
    directory: dirname(resolve(path)),
    value,
  });
  const { found, file } = find('context', context, ({ contexts }) => contexts);
  const { found: cluster, file: clusterFile } = find('cluster', found.context?.cluster, ({ clusters }) => clusters);
  const { found: user, file: userFile } = find('user', found.context?.user, ({ users }) => users);
  if (!cluster.cluster || !user.user)
    throw unusable(`${file.path}: context ${quote(context)} is of an empty cluster or user`);
  return {
    description: `context ${quote(context)} of ${file.path}`,
    cluster: entry('cluster', clusterFile, cluster.name, cluster.cluster),
    user: entry('user', userFile, user.name, user.user),
  };
}

/** As client-go's rest.InClusterConfig. */
function serviceAccount(host: string, port: string): Target {
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const account = kubeconfigSchema.parse({
    clusters: [{ name: 'in-cluster', cluster: { server, 'certificate-authority': 'ca.crt' } }],
    users: [{ name: 'in-cluster', user: { tokenFile: 'token' } }],
    contexts: [{ name: 'in-cluster', context: { cluster: 'in-cluster', user: 'in-cluster' } }],
  });
  const path = join(SERVICE_ACCOUNT, "the pod's service account");
  return { ...targetOf([{ ...account, path }], 'in-cluster', [path]), description: "the pod's service account" };
}

const quote = (name: string): string => JSON.stringify(safeText(name, 100));
