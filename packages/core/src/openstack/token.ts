import { z } from 'zod';
import { KmsError } from '../errors.ts';
import type { CatalogService } from './catalog.ts';
import type { Cloud } from './cloud.ts';
import { errorBody } from './error-body.ts';
import type { HttpClient } from './http.ts';
import { parseTime } from './time.ts';

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
  readonly catalog: readonly CatalogService[];
}

const named = z.object({ id: z.string(), name: z.string().default('') });
const answerSchema = z.object({
  token: z.object({
    issued_at: z.string(),
    expires_at: z.string(),
    user: named,
    project: named.optional(),
    roles: z.array(z.object({ name: z.string() })).default([]),
    catalog: z
      .array(
        z.object({
          type: z.string(),
          endpoints: z.array(
            z.object({
              interface: z.string(),
              region: z
                .string()
                .nullish()
                .transform((region) => region ?? undefined),
              url: z.string(),
            }),
          ),
        }),
      )
      .default([]),
  }),
});

/** A refusal of Keystone itself: the credential is not good (any more). */
export class LoginRefused extends KmsError {}

/**
 * Logs in (`POST /v3/auth/tokens`).
 * @throws {@link LoginRefused} for 401, 403 and 404: Keystone says 404 for an application credential that was deleted and for a
 * project that is disabled. Other {@link KmsError}s `ERR_KMS_STORE_UNAVAILABLE` for all else.
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
    const said = `Keystone (${new URL(url).origin}) answered ${answer.status}${text && `: ${text}`}`;
    if ([401, 403, 404].includes(answer.status)) {
      const message = `Keystone does not let ${cloud.credential} in: ${said}`;
      throw new LoginRefused('ERR_KMS_STORE_UNAVAILABLE', message);
    }
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', said);
  }
  const value = answer.headers['x-subject-token'];
  const parsed = answerSchema.safeParse(jsonOf(answer.body));
  if (typeof value !== 'string' || !parsed.success) {
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${new URL(url).origin} does not answer as Keystone does`);
  }
  const { issued_at, expires_at, user, project, roles, catalog } = parsed.data.token;
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
    catalog: catalog.map(({ type, endpoints }) => ({
      type,
      endpoints: endpoints.map(({ region, ...rest }) => ({ ...rest, ...(region !== undefined && { region }) })),
    })),
  };
}

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}
