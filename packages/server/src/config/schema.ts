import { cryptoEngines, duration, providerFor, providers } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';
import { isAbsolute, normalize } from 'node:path';
import * as z from 'zod';
import { socketPathProblem } from '../transport/socket.ts';
import { transports } from '../transport/index.ts';
import type { TransportName } from '../transport/index.ts';

const LOOPBACK = ['127.0.0.1', '::1', 'localhost'];
const HOST = `expected a loopback address (${LOOPBACK.join(', ')})`;

/** `keys` of an instance: the URI and the settings of its key store. */
export type KeysConfig = { readonly uri: string } & Readonly<Record<string, unknown>>;

const uriSchema = z
  .string('expected a key URI such as "file:/var/lib/teapot-kms/keys"')
  .describe('where the key-encryption key is');

const KEYS = 'expected a map such as { uri: "file:/var/lib/teapot-kms/keys" }';

/** The scheme of the URI selects the key store, so that errors name only the settings of that store. */
const keysSchema = z.looseObject({ uri: uriSchema }, KEYS).transform((keys, context): KeysConfig => {
  try {
    const provider = providerFor(keys.uri);
    const parsed = provider.settings.extend({ uri: uriSchema }).safeParse(keys, { reportInput: true });
    if (parsed.success) {
      const { uri, ...settings } = parsed.data as KeysConfig;
      provider.check(uri, settings);
      return parsed.data as KeysConfig;
    }
    context.issues.push(...(parsed.error.issues as z.core.$ZodRawIssue[]));
  } catch (error) {
    context.addIssue({ code: 'custom', path: ['uri'], message: (error as Error).message });
  }
  return z.NEVER;
});

/** Key stores that an instance may have had before. Each is probed like the present one. */
const MAX_DECRYPT_ONLY = 8;

const MODE = 'expected an octal mode in quotes, such as "0600"';
const GROUP = 'expected a group of this host, by name or number';
const NAME = 'expected 1-63 of a-z, 0-9 and "-"';
const PATH = 'expected an absolute path without "." and ".."';

/** A map of settings whose errors name the settings that there are. */
function settings<Shape extends z.ZodRawShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: ({ code }) =>
      code === 'unrecognized_keys'
        ? `unknown setting; expected one of ${known}`
        : `expected a map of settings (${known})`,
  });
}

function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  const expected = `expected a whole number ${max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`}`;
  return z.int(expected).min(min, expected).max(max, expected);
}

export const DEFAULT_STATE_DIRECTORY = '/var/lib/teapot-kms/state';

const absolutePath = z.string(PATH).refine((path) => isAbsolute(path) && normalize(path) === path, PATH);

const socketPath = absolutePath.superRefine((path, context) => {
  const message = socketPathProblem(path);
  if (message !== undefined) context.addIssue({ code: 'custom', message });
});

/** Permission bits of a socket, as text. @param isAllowed - whether a mode may be used */
const modeSchema = (isAllowed: (text: string) => boolean, message: string) =>
  z
    .string(MODE)
    .regex(/^0[0-7]{3}$/, { error: MODE, abort: true })
    .default('0600')
    .refine(isAllowed, message)
    .transform((text) => Number.parseInt(text, 8));

const instanceSchema = settings({
  name: z
    .string(NAME)
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, NAME)
    .describe('name of this instance in logs and metrics'),
  socket: socketPath.describe(
    'the Unix socket, unix://PATH for kube-apiserver; its directory is created with mode 0700, or 0750 for socketGroup',
  ),
  socketMode: modeSchema(
    (text) => text.endsWith('0'),
    'expected a mode without access for everyone, such as "0600" or "0660"',
  ).describe('permission bits of the socket'),
  socketGroup: z
    .union([z.int().min(0, GROUP), z.string().min(1, GROUP)], GROUP)
    .transform((group, context) => {
      const gid = groupId(group);
      if (gid !== undefined) return gid;
      context.addIssue({ code: 'custom', message: `${GROUP}, found ${JSON.stringify(group)}` });
      return z.NEVER;
    })
    .optional()
    .describe('group of the socket, by name or number; the directory must be accessible to the group'),
  keys: keysSchema.describe('the key store'),
  decryptOnly: z
    .array(keysSchema, 'expected a list of key stores, such as [{ uri: "file:/var/lib/teapot-kms/keys" }]')
    .max(MAX_DECRYPT_ONLY, `expected at most ${MAX_DECRYPT_ONLY} key stores`)
    .default([])
    .describe('key stores that held the keys before: they decrypt what was encrypted then, and never encrypt'),
  kmsV2Version: z
    .enum(['v2', 'v2beta1'])
    .default('v2')
    .describe(
      'version that Status reports; v2beta1 is for kube-apiserver 1.27 and 1.28. After a change a running kube-apiserver is unready until it restarts',
    ),
  transport: z
    .enum(Object.keys(transports) as [TransportName])
    .default('h2')
    .describe('the HTTP/2 implementation'),
  maxCallsInFlight: wholeNumber(1)
    .default(1_000)
    .describe(
      'calls that may wait for the key store at a time; more get RESOURCE_EXHAUSTED. Status is always answered',
    ),
  probeInterval: duration(100).prefault('30s').describe('time between two checks of the key store'),
  statusGrace: duration(0)
    .prefault('2m')
    .describe('how long the key store may be unreachable before Status reports it'),
  goneGrace: duration(0)
    .prefault('10m')
    .describe('how long keys stay in use after the key store has reported for certain that they are gone'),
});

export const configSchema = settings({
  version: z.literal(1).describe('version of this format'),
  log: settings({
    level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
    format: z
      .enum(['auto', 'json', 'text'])
      .default('auto')
      .describe('JSON lines, or text for people; auto: text on a terminal. A change takes effect at the next start'),
  })
    .prefault({})
    .describe('lines on stderr'),
  audit: z
    .union([
      z.literal(false),
      settings({
        file: absolutePath.describe('JSON lines are appended to it; SIGHUP opens it again, after it was renamed'),
        calls: z.boolean().default(false).describe('also a line for each Encrypt and Decrypt, with its uid and key id'),
      }),
    ])
    .default(false)
    .describe('a log of what happens to keys, or false. A change takes effect at the next start'),
  http: z
    .union([
      z.literal(false),
      settings({
        host: z
          .string(HOST)
          .refine((host) => LOOPBACK.includes(host), HOST)
          .default('127.0.0.1'),
        port: wholeNumber(1, 65_535).default(8089),
      }),
      settings({
        socket: socketPath.describe('a Unix socket instead of a port, which other users of the host cannot reach'),
        socketMode: modeSchema(() => true, '').describe('permission bits of the socket'),
      }),
    ])
    .prefault({})
    .describe('/livez, /readyz and /metrics, or false'),
  crypto: settings({
    engine: z
      .enum(cryptoEngines)
      .default('auto')
      .describe('where long messages are sealed: inline, in a pool of threads, or (auto) where this host is faster'),
  })
    .prefault({})
    .describe('a change takes effect at the next start. Messages of kube-apiserver are short and always sealed inline'),
  shutdownGrace: duration(0).prefault('5s').describe('time for calls under way to finish after SIGTERM'),
  stateDirectory: absolutePath
    .default(DEFAULT_STATE_DIRECTORY)
    .describe(
      'where this host remembers the newest keyset of each instance, so that a rollback is recognised after a restart',
    ),
  instances: z
    .array(instanceSchema, 'expected a list of instances')
    .min(1, 'expected at least one instance')
    .describe('one for each kube-apiserver'),
}).superRefine(({ instances }, context) => {
  for (const field of ['name', 'socket'] as const) {
    const seen = new Set<string>();
    instances.forEach((instance, index) => {
      if (!seen.has(instance[field])) return void seen.add(instance[field]);
      const message = `expected a ${field} of its own, found ${JSON.stringify(instance[field])} for a second time`;
      context.addIssue({ code: 'custom', path: ['instances', index, field], message });
    });
  }
  instances.forEach((instance, index) => {
    const uris = storesOf(instance).map(({ uri }) => uri);
    const again = uris.findIndex((uri, at) => uris.indexOf(uri) < at);
    if (again < 0) return;
    const message = 'expected each key store of an instance once, in keys or in decryptOnly';
    context.addIssue({ code: 'custom', path: ['instances', index, 'decryptOnly', again - 1, 'uri'], message });
  });
});

export type Config = z.output<typeof configSchema>;
export type InstanceConfig = Config['instances'][number];

/** The key stores of an instance: the one that encrypts comes first. */
export function storesOf({ keys, decryptOnly }: Pick<InstanceConfig, 'keys' | 'decryptOnly'>): readonly KeysConfig[] {
  return [keys, ...decryptOnly];
}

/** The schema as JSON Schema (draft 2020-12), for editors and CI. */
export function configJsonSchema(): object {
  const keys = providers.map(({ scheme, settings }) =>
    z.toJSONSchema(settings.extend({ uri: uriSchema.regex(new RegExp(`^${scheme}:.`)) }), { io: 'input' }),
  );
  return z.toJSONSchema(configSchema, {
    io: 'input',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      if (zodSchema !== keysSchema.in) return;
      for (const name of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, name);
      jsonSchema.anyOf = keys;
    },
  });
}

/** Returns the number of a group of this host (group(5)), or `undefined` if no group has that name. */
function groupId(group: string | number): number | undefined {
  if (typeof group === 'number') return group;
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${group}:`));
  return line === undefined ? undefined : Number(line.split(':')[2]);
}
