import { cryptoEngines, duration, providerFor, providers } from '@teapot-kms/core';
import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';
import { checkSocketPath } from '../transport/socket.ts';
import { transports } from '../transport/index.ts';
import type { TransportName } from '../transport/index.ts';
import { groupId } from './group.ts';

const LOOPBACK = ['127.0.0.1', '::1', 'localhost'];

/** What `keys` becomes: the URI, and beside it what its key store lets one set. */
export type KeysConfig = { readonly uri: string } & Readonly<Record<string, unknown>>;

const uriSchema = z.string().describe('where the key-encryption key is');

/** What `keys` may be, for each kind of key store. */
const keyStores = providers.map((provider) =>
  provider.settings.extend({ uri: uriSchema.regex(new RegExp(`^${provider.scheme}:.`)) }),
);

/** The URI's scheme says which key store's settings the rest must be; so an error speaks of no other's. */
const keysSchema = z.looseObject({ uri: uriSchema }).transform((keys, context): KeysConfig => {
  try {
    const provider = providerFor(keys.uri);
    const parsed = provider.settings.extend({ uri: uriSchema }).safeParse(keys);
    if (parsed.success) {
      const { uri, ...settings } = parsed.data as KeysConfig;
      provider.check(uri, settings);
      return parsed.data as KeysConfig;
    }
    const found = (path: readonly PropertyKey[]) =>
      path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key], keys);
    const issues = parsed.error.issues.map((issue) => ({ ...issue, input: found(issue.path) }) as z.core.$ZodRawIssue);
    context.issues.push(...issues);
  } catch (error) {
    context.addIssue({ code: 'custom', path: ['uri'], message: (error as Error).message });
  }
  return z.NEVER;
});

const socketPath = z
  .string()
  .refine((path) => isAbsolute(path) && normalize(path) === path, 'expected an absolute path without "." and ".."')
  .superRefine((path, context) => {
    try {
      checkSocketPath(path);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
    }
  });

const instanceSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected 1-63 of a-z, 0-9 and "-"')
    .describe('what logs and metrics call this instance'),
  socket: socketPath.describe(
    'the Unix socket that kube-apiserver is given as unix://PATH; its directory is made, mode 0700',
  ),
  socketMode: z
    .string()
    .regex(/^0[0-7]{3}$/, 'expected an octal mode in quotes, such as "0600"')
    .default('0600')
    .refine((text) => text.endsWith('0'), 'expected a mode that leaves everyone else out, such as "0600" or "0660"')
    .transform((text) => Number.parseInt(text, 8))
    .describe('permission bits of the socket'),
  socketGroup: z
    .union([z.int().min(0), z.string().min(1)])
    .transform((group, context) => {
      const gid = groupId(group);
      if (gid !== undefined) return gid;
      context.addIssue({ code: 'custom', message: `expected a group of this host, found ${JSON.stringify(group)}` });
      return z.NEVER;
    })
    .optional()
    .describe('group of the socket, by name or number; the directory must let it in'),
  keys: keysSchema.describe('the key store'),
  kmsV2Version: z
    .enum(['v2', 'v2beta1'])
    .default('v2')
    .describe(
      'what Status reports; v2beta1 is for kube-apiserver 1.27 and 1.28. Changing it makes a running kube-apiserver unready until it restarts',
    ),
  transport: z
    .enum(Object.keys(transports) as [TransportName])
    .default('grpc-js')
    .describe('the HTTP/2 implementation'),
  maxCallsInFlight: z
    .int()
    .min(1)
    .default(1_000)
    .describe(
      'calls that may wait for the key store at a time; more are RESOURCE_EXHAUSTED. Status is always answered',
    ),
  probeInterval: duration(100).prefault('30s').describe('time between two looks at the key store'),
  statusGrace: duration(0).prefault('2m').describe('how long the key store may be away before Status says so'),
  goneGrace: duration(0)
    .prefault('10m')
    .describe('how long keys stay in use after their store said for certain that they are gone'),
});

export const configSchema = z
  .strictObject({
    version: z.literal(1).describe('version of this format'),
    log: z
      .strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') })
      .prefault({})
      .describe('JSON lines on stderr'),
    http: z
      .union([
        z.literal(false),
        z.strictObject({
          host: z
            .string()
            .refine((host) => LOOPBACK.includes(host), `expected a loopback address: ${LOOPBACK.join(', ')}`)
            .default('127.0.0.1'),
          port: z.int().min(1).max(65_535).default(8089),
        }),
      ])
      .prefault({})
      .describe('/livez, /readyz and /metrics, or false'),
    crypto: z
      .strictObject({
        engine: z
          .enum(cryptoEngines)
          .default('auto')
          .describe('where long messages are sealed: inline, in a pool of threads, or where this host is faster'),
      })
      .prefault({})
      .describe(
        'a change takes effect at the next start; what kube-apiserver sends is short, and always sealed inline',
      ),
    shutdownGrace: duration(0)
      .prefault('5s')
      .describe('how long the exit may take after SIGTERM, so that calls under way finish'),
    instances: z.array(instanceSchema).min(1).describe('one for each kube-apiserver'),
  })
  .superRefine(({ instances }, context) => {
    for (const field of ['name', 'socket'] as const) {
      instances.forEach((instance, index) => {
        if (instances.findIndex((other) => other[field] === instance[field]) === index) return;
        const message = `expected a ${field} of its own, found ${JSON.stringify(instance[field])} again`;
        context.addIssue({ code: 'custom', path: ['instances', index, field], message });
      });
    }
  });

export type Config = z.output<typeof configSchema>;
export type InstanceConfig = Config['instances'][number];

/** The schema as JSON Schema (draft 2020-12), for editors and CI. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, {
    io: 'input',
    unrepresentable: 'any',
    override({ zodSchema, jsonSchema }) {
      if (zodSchema !== keysSchema.in) return;
      for (const name of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, name);
      Object.assign(jsonSchema, { anyOf: keyStores.map((store) => z.toJSONSchema(store, { io: 'input' })) });
    },
  });
}
