import { z } from 'zod';
import { KmsError } from '../../../errors.ts';
import { catalogSchema } from './catalog.ts';
import type { Catalog } from './catalog.ts';
import type { Cloud } from './cloud.ts';
import { errorBody, parseJson } from './error-body.ts';
import type { HttpClient } from './http.ts';
import { parseTime } from './time.ts';

/** What Keystone calls an access rule. */
export interface AccessRule {
  /** A type of the catalog, such as `key-manager`. */
  readonly service: string;
  readonly method: string;
  readonly path: string;
}

/** A token and what it says. */
export interface Token {
  readonly value: string;
  /** By `performance.now()`: how long it lives is told in the server's own times, so a clock that is off does not matter. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** ms that this host's clock is ahead of Keystone's, give or take the time of the answer. */
  readonly clockSkewMs: number;
  readonly user: { readonly id: string; readonly name: string };
  readonly project: { readonly id: string; readonly name: string } | undefined;
  readonly roles: readonly string[];
  /** All that an application credential may ask for; `undefined`: whatever its roles allow. */
  readonly accessRules: readonly AccessRule[] | undefined;
  readonly catalog: Catalog;
}

const ruleSchema = z.object({ service: z.string(), method: z.string(), path: z.string() });
const named = z.object({ id: z.string(), name: z.string().default('') });
const answerSchema = z.object({
  token: z.object({
    issued_at: z.string(),
    expires_at: z.string(),
    user: named,
    project: named.optional(),
    roles: z.array(z.object({ name: z.string() })).default([]),
    application_credential: z
      // For doctor only: no login may fail for it.
      .object({ access_rules: z.array(ruleSchema).optional().catch(undefined) })
      .optional(),
    catalog: catalogSchema.default([]),
  }),
});

/**
 * Logs in (`POST /v3/auth/tokens`).
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, which says of 401, 403 and 404 that the credential is not let in: Keystone says
 * 404 for an application credential that was deleted and for a project that is disabled
 */
export async function login(cloud: Cloud, http: HttpClient, signal: AbortSignal): Promise<Token> {
  const url = `${cloud.authUrl}/auth/tokens`;
  const body = Buffer.from(JSON.stringify({ auth: cloud.auth }));
  const headers = { 'content-type': 'application/json', accept: 'application/json' };
  const answer = await http
    .send({ method: 'POST', url, headers, body, tls: cloud, signal })
    .finally(() => body.fill(0));
  const issuedAt = performance.now();
  if (answer.status !== 201) {
    const { text } = errorBody(answer);
    const refused = [401, 403, 404].includes(answer.status) ? `Keystone does not let ${cloud.credential} in: ` : '';
    const said = `Keystone (${new URL(url).origin}) answered ${answer.status}${text && `: ${text}`}`;
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', refused + said);
  }
  const value = answer.headers['x-subject-token'];
  const parsed = answerSchema.safeParse(parseJson(answer.body));
  if (typeof value !== 'string' || !parsed.success) {
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${new URL(url).origin} does not answer as Keystone does`);
  }
  const { issued_at, expires_at, user, project, roles, application_credential, catalog } = parsed.data.token;
  const [issued, expires] = [parseTime(issued_at), parseTime(expires_at)];
  if (!(expires > issued)) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'Keystone gave a token without a lifetime');
  return {
    value,
    issuedAt,
    expiresAt: issuedAt + (expires - issued),
    clockSkewMs: Date.now() - issued,
    user,
    project,
    roles: roles.map(({ name }) => name),
    accessRules: application_credential?.access_rules,
    catalog,
  };
}
