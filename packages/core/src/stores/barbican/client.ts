import { KmsError } from '../../errors.ts';
import { errorBody, parseJson } from './keystone/error-body.ts';
import { JUST_ISSUED_MS } from './keystone/session.ts';
import type { KeystoneSession, ServiceAnswer, ServiceRequest } from './keystone/session.ts';
import { parseTime } from './keystone/time.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';

/** A secret as Barbican lists it, without its payload. */
export interface SecretInfo {
  readonly id: string;
  readonly name: string;
  /** User id. */
  readonly creator: string;
  /** ms since 1970, with fractions. */
  readonly created: number;
}

const OCTETS = 'application/octet-stream';
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Most that Barbican gives in one list. */
const PAGE = 100;
const MAX_PAGES = 50;

/** Barbican's API v1, as much of it as a keyset needs. Microversion 1.0, which every Barbican has. */
export class BarbicanClient {
  readonly #session: KeystoneSession;

  constructor(session: KeystoneSession) {
    this.#session = session;
  }

  /**
   * The bytes of a secret, whatever their number; the caller owns them.
   * @throws {@link KmsError} `ERR_KMS_KEY_GONE` where Barbican itself says 404 or 403 under a token just issued (design D3);
   * `ERR_KMS_KEYSET_INVALID` for a secret without a payload; `ERR_KMS_STORE_UNAVAILABLE` for everything else
   */
  async payload(id: string, signal: AbortSignal): Promise<SecretBytes> {
    const request: ServiceRequest = {
      method: 'GET',
      path: `/secrets/${id}/payload`,
      headers: { accept: OCTETS },
      signal,
    };
    let answer = await this.#session.keyManager(request);
    if (isRefusal(answer) && performance.now() - answer.token.issuedAt > JUST_ISSUED_MS) {
      answer = await this.#session.keyManager({ ...request, tokenSince: performance.now() });
    }
    if (answer.status === 200) return new SecretBytes(answer.body);
    const { text } = errorBody(answer);
    if (answer.status === 404 && /no payload/.test(text)) {
      throw new KmsError(
        'ERR_KMS_KEYSET_INVALID',
        `secret ${id}: expected exactly 32 bytes, found 0: it has no payload`,
      );
    }
    if (isRefusal(answer)) {
      const what = answer.status === 404 ? 'was deleted, has expired, or never was there' : 'may not be read by us';
      throw new KmsError('ERR_KMS_KEY_GONE', `secret ${id} ${what}: Barbican answered ${answer.status}: ${text}`);
    }
    throw unexpected(answer, `reading secret ${id}`);
  }

  /**
   * Stores bytes as a new secret, in two steps, so that they never become a string: base64 in JSON would.
   * @returns its UUID
   */
  async create(name: string, bytes: Buffer, signal: AbortSignal): Promise<string> {
    const attributes = { name, algorithm: 'aes', bit_length: bytes.length * 8, mode: 'gcm', secret_type: 'symmetric' };
    const answer = await this.#session.keyManager({
      method: 'POST',
      path: '/secrets',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(bytes.length === 32 ? attributes : { name, secret_type: 'opaque' })),
      signal,
    });
    if (answer.status !== 201) throw unexpected(answer, 'making a secret');
    const id = idOf((parseJson(answer.body) as { secret_ref?: unknown } | undefined)?.secret_ref);
    if (id === undefined)
      throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'Barbican made a secret without saying which');
    try {
      const put = { method: 'PUT', path: `/secrets/${id}`, headers: { 'content-type': OCTETS }, body: bytes } as const;
      const stored = await this.#session.keyManager({ ...put, signal });
      if (stored.status !== 204) throw unexpected(stored, 'storing a secret');
      return id;
    } catch (error) {
      await this.delete(id, signal).catch(() => undefined);
      throw error;
    }
  }

  /** Succeeds where it is gone already. */
  async delete(id: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#session.keyManager({ method: 'DELETE', path: `/secrets/${id}`, signal });
    if (answer.status !== 204 && answer.status !== 404) throw unexpected(answer, `deleting secret ${id}`);
  }

  /** All secrets of exactly this name, the newest first; without those whose writer has not stored a payload (yet). */
  async list(name: string, signal: AbortSignal): Promise<SecretInfo[]> {
    const found: SecretInfo[] = [];
    for (let page = 0; page < MAX_PAGES; page++) {
      // Its own "next" links drop every filter.
      const query = new URLSearchParams({
        name,
        sort: 'created:desc',
        limit: String(PAGE),
        offset: String(page * PAGE),
      });
      const answer = await this.#session.keyManager({ method: 'GET', path: `/secrets?${query.toString()}`, signal });
      if (answer.status !== 200) throw unexpected(answer, 'listing secrets');
      const { secrets } = (parseJson(answer.body) ?? {}) as { secrets?: unknown };
      if (!Array.isArray(secrets))
        throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', 'Barbican gave a list without secrets');
      found.push(
        ...secrets
          .map(infoOf)
          .filter((info) => info?.name === name)
          .filter((info) => info !== undefined),
      );
      if (secrets.length < PAGE) break;
    }
    return found.sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1));
  }
}

/** Barbican's own 404 or 403: of a proxy before it nothing is certain. */
function isRefusal(answer: ServiceAnswer): boolean {
  return (answer.status === 404 || answer.status === 403) && errorBody(answer).own;
}

function unexpected(answer: ServiceAnswer, doing: string): KmsError {
  const { text } = errorBody(answer);
  const forbidden = answer.status === 403 ? ` (roles: ${answer.token.roles.join(', ') || 'none'})` : '';
  const said = `Barbican answered ${answer.status}${text && `: ${text}`}${forbidden}`;
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${doing}: ${said}`);
}

function infoOf(secret: unknown): SecretInfo | undefined {
  const { secret_ref, name, creator_id, created, status, content_types } = secret as Record<string, unknown>;
  const id = idOf(secret_ref);
  const time = parseTime(created);
  const complete = status === 'ACTIVE' && Boolean(content_types);
  if (id === undefined || !complete || Number.isNaN(time)) return undefined;
  return { id, name: String(name), creator: String(creator_id), created: time };
}

/** The UUID at the end of a ref. Its host is what Barbican was told to call itself: nothing is ever sent there. */
function idOf(ref: unknown): string | undefined {
  const id = typeof ref === 'string' ? ref.split('/').at(-1) : undefined;
  return id !== undefined && UUID.test(id) ? id : undefined;
}
