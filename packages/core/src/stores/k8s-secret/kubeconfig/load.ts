import { dirname, join, resolve } from 'node:path';
import { KmsError, unavailable } from '../../../errors.ts';
import { safeText } from '../../../util/safe-text.ts';
import { withheldValue } from '../../../util/shown-value.ts';
import { FileRefused, readSmallFile } from '../../../util/small-file.ts';
import { distrustOfAsync, exposureOf } from '../../../util/trusted-path.ts';
import { formatProblems, parseYaml } from '../../../util/yaml-document.ts';
import { kubeconfigSchema } from './schema.ts';
import type { Cluster, Kubeconfig, User } from './schema.ts';

export interface KubeconfigOptions {
  /** A kubeconfig. Default: what kubectl takes, that is `KUBECONFIG`, `~/.kube/config`, or the pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** A context of it. Default: its current one. */
  readonly context?: string | undefined;
  /** A server instead of the cluster's own: one of several behind a load balancer. */
  readonly server?: string | undefined;
}

/** A cluster or user as one file has it. */
export interface Entry<T> {
  /** The file, and the entry in it. */
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
const MAX_FILE_BYTES = 1024 * 1024;

type File = Kubeconfig & { readonly path: string };

/**
 * Reads kubeconfigs as client-go does (tools/clientcmd): of several files in `KUBECONFIG`, the first that has an entry of a
 * name or a current context wins, and missing files are skipped. Where they name no context, a pod's service account is used.
 *
 * @param env - the environment
 * @throws {@link KmsError} `ERR_KMS_INVALID_URI` for content that cannot be used, `ERR_KMS_STORE_UNAVAILABLE` for a file that
 * cannot be read
 */
export async function loadTarget(options: KubeconfigOptions, env: NodeJS.ProcessEnv): Promise<Target> {
  const target = await namedTarget(options, env);
  const { server } = options;
  return server === undefined ? target : { ...target, cluster: withServer(target.cluster, server) };
}

const withServer = ({ value, ...entry }: Entry<Cluster>, server: string): Entry<Cluster> => {
  return { ...entry, value: { ...value, server } };
};

async function namedTarget({ kubeconfig, context }: KubeconfigOptions, env: NodeJS.ProcessEnv): Promise<Target> {
  const paths = kubeconfig === undefined ? defaultPaths(env) : [kubeconfig];
  const files: File[] = [];
  for (const path of new Set(paths)) {
    try {
      files.push(await readKubeconfig(path));
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
      if (kubeconfig !== undefined || code !== 'ENOENT') throw error;
    }
  }
  const name = context ?? files.map((file) => file['current-context']).find((current) => current !== undefined);
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
    return await readSmallFile(path, MAX_FILE_BYTES);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = cause instanceof FileRefused ? cause.reason : code;
    const remedy = `make ${path} a file that this user can read`;
    throw unavailable(`${where}: cannot read ${path}: ${why}`, { cause, remedy });
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

async function readKubeconfig(path: string): Promise<File> {
  const distrust = await distrustOfAsync(path);
  // It may name a program to run.
  if (distrust) throw unavailable(`kubeconfig: ${distrust.text}`, { remedy: distrust.remedy });
  const bytes = await readNamedFile(path, 'kubeconfig');
  const { value, problems } = parseYaml(bytes.toString('utf8') || '{}', kubeconfigSchema, withheldValue);
  if (value) {
    const exposure = value.users.some(({ user }) => hasSecret(user)) ? await exposureOf(path) : undefined;
    if (exposure) throw unavailable(`kubeconfig: ${exposure.text}`, { remedy: exposure.remedy });
    return { ...value, path };
  }
  const [problem] = problems;
  // A parser's message may repeat a piece of the file.
  const message = problem!.path === '' ? 'expected a kubeconfig: YAML without aliases' : problem!.message;
  throw unusable(formatProblems(path, [{ ...problem!, message }]));
}

function targetOf(files: readonly File[], name: string, paths: readonly string[]): Target {
  const find = <T>(kind: string, wanted: string | undefined, of: (file: File) => [string, T | null | undefined][]) => {
    for (const file of files) {
      const found = of(file).find(([name]) => name === wanted);
      if (!found) continue;
      const [where, value] = [`${file.path}: ${kind} ${quote(found[0])}`, found[1]];
      if (!value) throw unusable(`${where} is empty`);
      return { where, directory: dirname(resolve(file.path)), value, path: file.path };
    }
    const what = wanted === undefined ? `no ${kind} in context ${quote(name)}` : `no ${kind} ${quote(wanted)}`;
    throw unusable(`${paths.join(', ')}: ${what}`);
  };
  const { value, path } = find('context', name, (file) => file.contexts.map((one) => [one.name, one.context]));
  return {
    description: `context ${quote(name)} of ${path}`,
    cluster: find('cluster', value.cluster, (file) => file.clusters.map((one) => [one.name, one.cluster])),
    user: find('user', value.user, (file) => file.users.map((one) => [one.name, one.user])),
  };
}

/** As client-go's rest.InClusterConfig. */
function serviceAccount(host: string, port: string): Target {
  const server = `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
  const { clusters, users } = kubeconfigSchema.parse({
    clusters: [{ name: '', cluster: { server, 'certificate-authority': 'ca.crt' } }],
    users: [{ name: '', user: { tokenFile: 'token' } }],
  });
  const description = "the pod's service account";
  const entry = { where: description, directory: SERVICE_ACCOUNT };
  return {
    description,
    cluster: { ...entry, value: clusters[0]!.cluster! },
    user: { ...entry, value: users[0]!.user! },
  };
}

/** Whether a user's entry is itself a secret, and does not only name files. */
const hasSecret = (user: User | null | undefined): boolean =>
  [user?.token, user?.['client-key-data'], user?.password].some((secret) => secret !== undefined);

const quote = (name: string): string => JSON.stringify(safeText(name, 100));
