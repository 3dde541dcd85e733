import * as z from 'zod';
import { unavailable } from '../../../errors.ts';
import type { Clock } from '../../../util/clock.ts';
import { errorBody, parseJson, parseTime } from './answers.ts';
import { catalogSchema } from './catalog.ts';
import type { Cloud } from './cloud.ts';
import type { HttpClient } from './http.ts';

const LOGIN_TIMEOUT_MS = 10_000;

const ruleSchema = z.object({
  /** A type of the catalog, such as `key-manager`. */
  service: z.string(),
  method: z.string(),
  path: z.string(),
});
/** Keystone's access rule: a request that an application credential may send. */
export type AccessRule = Readonly<z.output<typeof ruleSchema>>;

const named = z.object({ id: z.string(), name: z.string().default('') });
const tokenSchema = z.object({
  issued_at: z.string().transform(parseTime),
  expires_at: z.string().transform(parseTime),
  user: named,
  project: named.optional(),
  roles: z.array(z.object({ name: z.string() })).default([]),
  application_credential: z
    // Only doctor shows them: no login may fail because of them.
    .object({ access_rules: z.array(ruleSchema).optional().catch(undefined) })
    .optional(),
  catalog: catalogSchema.default([]),
});

/** A token and what Keystone says about it. */
export interface Token extends Pick<Readonly<z.output<typeof tokenSchema>>, 'user' | 'project' | 'catalog'> {
  readonly value: string;
  /** Monotonic time. The lifetime is the difference between two times of the server, so this host's wall clock does not matter. */
  readonly issuedAt: number;
  /** Monotonic time. */
  readonly expiresAt: number;
  /** How far this host's clock is ahead of Keystone's, in ms. The time of the answer adds to it. */
  readonly clockSkewMs: number;
  readonly roles: readonly string[];
  /** The only requests that an application credential may send. `undefined`: all that its roles allow. */
  readonly accessRules: readonly AccessRule[] | undefined;
}

/**
 * Logs in (`POST /v3/auth/tokens`).
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`. 401, 403 and 404 all mean that Keystone refuses the credential: it answers 404 for
 * a deleted application credential and for a disabled project
 */
export async function login(cloud: Cloud, http: HttpClient, clock: Clock, signal: AbortSignal): Promise<Token> {
  const url = `${cloud.authUrl}/auth/tokens`;
  const { origin } = new URL(url);
  const body = Buffer.from(JSON.stringify({ auth: cloud.auth }));
  const headers = { 'content-type': 'application/json', accept: 'application/json' };
  const answer = await http
    .send({
      method: 'POST',
      url,
      headers,
      body,
      tls: cloud,
      secrets: cloud.secrets,
      signal,
      timeoutMs: LOGIN_TIMEOUT_MS,
    })
    .finally(() => body.fill(0));
  const issuedAt = clock.now();
  if (answer.status !== 201) {
    const { text } = errorBody(answer);
    const said = `Keystone (${origin}) answered ${answer.status}${text && `: ${text}`}`;
    if (![401, 403, 404].includes(answer.status)) throw unavailable(said);
    throw unavailable(`Keystone does not let ${cloud.credential} in: ${said}`, {
      remedy: `check that ${cloud.credential} exists, is enabled and has a role, and that the plugin has its current secret`,
    });
  }
  const value = answer.headers['x-subject-token'];
  const parsed = z.object({ token: tokenSchema }).safeParse(parseJson(answer.body));
  if (typeof value !== 'string' || !parsed.success) {
    throw unavailable(`${origin} does not answer as Keystone does`, { remedy: 'check the auth URL' });
  }
  const { issued_at, expires_at, user, project, roles, application_credential, catalog } = parsed.data.token;
  if (!(expires_at > issued_at)) throw unavailable(`Keystone (${origin}) issued a token without a lifetime`);
  return {
    value,
    issuedAt,
    expiresAt: issuedAt + (expires_at - issued_at),
    clockSkewMs: clock.wall() - issued_at,
    user,
    project,
    roles: roles.map(({ name }) => name),
    accessRules: application_credential?.access_rules,
    catalog,
  };
}
