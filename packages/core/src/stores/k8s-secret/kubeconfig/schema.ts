import * as z from 'zod';

/*
 * The parts of a kubeconfig that matter here (k8s.io/client-go/tools/clientcmd/api/v1). As in Go, null and an empty text mean
 * that a field is not set, and unknown fields are ignored. No message repeats what it found: it may be a secret.
 */

const expected = (what: string): string => `expected ${what}, found something else`;

const plain = z.string(expected('a string'));
/** As in Go, null and an empty text are none. */
export const text = plain.nullish().transform((value) => value || undefined);
const flag = z.boolean(expected('true or false')).nullish();
const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item, expected('a list'))
    .nullish()
    .transform((value) => value ?? []);
const data = text.transform((value) => value?.replace(/[\r\n]/g, '')).pipe(z.base64(expected('base64')).optional());

const cluster = z.object({
  server: text,
  'certificate-authority': text,
  'certificate-authority-data': data,
  'insecure-skip-tls-verify': flag,
  'tls-server-name': text,
  'proxy-url': text,
  'disable-compression': flag,
  extensions: list(z.object({ name: text, extension: z.unknown().optional() })),
});

const exec = z.object({
  apiVersion: text,
  command: text,
  args: list(plain),
  env: list(z.object({ name: text, value: text })),
  installHint: text,
  interactiveMode: text,
  provideClusterInfo: flag,
});

const user = z.object({
  'client-certificate': text,
  'client-certificate-data': data,
  'client-key': text,
  'client-key-data': data,
  token: text,
  tokenFile: text,
  as: text,
  'as-uid': text,
  'as-groups': list(plain),
  'as-user-extra': z.record(plain, list(plain)).nullish(),
  username: text,
  password: text,
  'auth-provider': z.unknown().optional(),
  exec: exec.nullish(),
});

/** Lists are maps in client-go: a name occurs once. */
const named = <T extends z.ZodType<{ name: string }>>(item: T) =>
  list(item).refine(
    (all) => new Set(all.map(({ name }) => name)).size === all.length,
    'expected each name once, found one twice',
  );

/** One file. */
export const kubeconfigSchema = z.object({
  kind: z.literal('Config', expected('"Config"')).nullish(),
  apiVersion: z.literal('v1', expected('"v1"')).nullish(),
  clusters: named(z.object({ name: plain, cluster: cluster.nullish() })),
  users: named(z.object({ name: plain, user: user.nullish() })),
  contexts: named(z.object({ name: plain, context: z.object({ cluster: text, user: text }).nullish() })),
  'current-context': text,
});

export type Kubeconfig = z.output<typeof kubeconfigSchema>;
export type Cluster = z.output<typeof cluster>;
export type User = z.output<typeof user>;
export type ExecConfig = z.output<typeof exec>;
