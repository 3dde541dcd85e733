import { KmsError, unavailable } from '../../errors.ts';
import { RESTORE_KEYS } from '../../keyset/restoring.ts';
import { timeoutSignal } from '../../util/abort.ts';
import type { Clock } from '../../util/clock.ts';
import { SecretBytes } from '../../util/secret-bytes.ts';
import { errorBody, parseJson, parseTime } from './keystone/answers.ts';
import type { KeystoneSession, ServiceAnswer, ServiceRequest } from './keystone/session.ts';
import { UUID } from './settings.ts';

/** A secret as Barbican lists it, without its payload. */
export interface SecretInfo {
  readonly id: string;
  /** Whether it has a payload. Between {@link BarbicanClient.begin} and {@link BarbicanClient.store} it has none. */
  readonly complete: boolean;
  /** User id. */
  readonly creator: string;
  /** ms since 1970. */
  readonly created: number;
}

const OCTETS = 'application/octet-stream';
/** Longest list that Barbican returns. */
const PAGE = 100;
const MAX_PAGES = 50;
/** ms for a change. */
const CHANGE_TIMEOUT_MS = 60_000;
/** ms to delete what is left of a change that failed, perhaps because its own time was over. */
const CLEAN_UP_TIMEOUT_MS = 10_000;

/** The part of Barbican's API v1 that a keyset needs. Microversion 1.0, which every Barbican has. */
export class BarbicanClient {
  readonly #session: KeystoneSession;
  readonly #clock: Clock;
  /** The place that last delivered each secret. */
  readonly #servedBy = new Map<string, string>();

  constructor(session: KeystoneSession, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
  }

  /** A signal that ends a change after one minute. */
  deadline(): AbortSignal {
    return timeoutSignal(this.#clock, CHANGE_TIMEOUT_MS);
  }

  /**
   * Reads the bytes of a secret, of any length. The caller owns them.
   * @param owner - the key that the secret is, for errors
   * @param lost - what to do if it is gone
   * @throws {@link KmsError} `ERR_KMS_KEY_GONE` if Barbican itself answers 404 or 403 to a token just issued (design D3), from the same
   * place that delivered the secret before, if any did (design D18); `ERR_KMS_KEYSET_INVALID` for a secret without a payload;
   * `ERR_KMS_STORE_UNAVAILABLE` otherwise
   */
  async payload(id: string, signal: AbortSignal, owner?: string, lost = RESTORE_KEYS): Promise<SecretBytes> {
    const path = `/secrets/${id}/payload`;
    const request: ServiceRequest = { method: 'GET', path, headers: { accept: OCTETS }, signal };
    let answer = await this.#session.keyManager(request);
    if (isRefusal(answer) && !answer.justIssued) {
      answer = await this.#session.keyManager({ ...request, justIssued: true });
    }
    if (answer.status === 200) {
      this.#servedBy.set(id, answer.place);
      return new SecretBytes(answer.body);
    }
    throw this.#notDelivered(id, answer, `${owner === undefined ? '' : `${owner}, `}secret ${id}`, lost);
  }

  /**
   * Stores bytes as a new secret. It does so in two steps, because base64 in JSON would make a string of a key.
   * @returns its UUID
   */
  async create(name: string, bytes: Buffer, signal: AbortSignal): Promise<string> {
    const id = await this.begin(name, bytes.length, signal);
    try {
      await this.store(id, bytes, signal);
      return id;
    } catch (error) {
      await this.delete(id).catch(() => undefined);
      throw error;
    }
  }

  /**
   * Makes a secret without a payload.
   * @param length - bytes that the payload will have
   * @returns its UUID
   */
  async begin(name: string, length: number, signal: AbortSignal): Promise<string> {
    const aes = { algorithm: 'aes', bit_length: length * 8, mode: 'gcm', secret_type: 'symmetric' };
    const attributes = { name, ...(length === 32 ? aes : { secret_type: 'opaque' }) };
    const answer = await this.#session.keyManager({
      method: 'POST',
      path: '/secrets',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(attributes)),
      signal,
    });
    if (answer.status !== 201) throw unexpected(answer, 'making a secret');
    const id = idOf((parseJson(answer.body) as { secret_ref?: unknown } | undefined)?.secret_ref);
    if (id === undefined) throw unavailable('making a secret: the answer of Barbican names no secret');
    return id;
  }

  /** Gives a secret its payload, which never changes. If it throws, the secret may have it all the same. */
  async store(id: string, bytes: Buffer, signal: AbortSignal): Promise<void> {
    const headers = { 'content-type': OCTETS };
    const request = { method: 'PUT', path: `/secrets/${id}`, headers, body: bytes, signal } as const;
    const answer = await this.#session.keyManager(request);
    if (answer.status !== 204) throw unexpected(answer, 'storing a secret');
  }

  /**
   * Deletes a secret. Succeeds if it does not exist.
   * @param signal - by default one of its own, as a clean-up needs it
   */
  async delete(id: string, signal = timeoutSignal(this.#clock, CLEAN_UP_TIMEOUT_MS)): Promise<void> {
    const answer = await this.#session.keyManager({ method: 'DELETE', path: `/secrets/${id}`, signal });
    if (answer.status !== 204 && answer.status !== 404) throw unexpected(answer, `deleting secret ${id}`);
  }

  /** Lists all secrets of exactly this name, the newest first. */
  async list(name: string, signal: AbortSignal): Promise<SecretInfo[]> {
    const found: SecretInfo[] = [];
    for (let page = 0; page < MAX_PAGES; page++) {
      // Barbican's own "next" links lose the filters.
      const paging = { sort: 'created:desc', limit: String(PAGE), offset: String(page * PAGE) };
      const query = new URLSearchParams({ name, ...paging }).toString();
      const answer = await this.#session.keyManager({ method: 'GET', path: `/secrets?${query}`, signal });
      if (answer.status !== 200) throw unexpected(answer, 'listing secrets');
      const { secrets } = (parseJson(answer.body) ?? {}) as { secrets?: unknown };
      if (!Array.isArray(secrets)) throw unavailable('listing secrets: the answer of Barbican has no list');
      found.push(...secrets.flatMap((secret) => infoOf(secret, name) ?? []));
      if (secrets.length < PAGE) break;
    }
    return found.sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1));
  }

  #notDelivered(id: string, answer: ServiceAnswer, what: string, lost: string): KmsError {
    const { text } = errorBody(answer);
    // Barbican has no code of its own for this.
    if (answer.status === 404 && text.includes('no payload')) {
      return new KmsError('ERR_KMS_KEYSET_INVALID', `${what}: expected exactly 32 bytes, found 0: it has no payload`, {
        remedy: lost,
      });
    }
    if (!isRefusal(answer)) return unexpected(answer, `reading ${what}`);
    const said = `Barbican answered ${answer.status}: ${text}`;
    const servedBy = this.#servedBy.get(id);
    if (servedBy !== undefined && servedBy !== answer.place) {
      return unavailable(`${what} was read at ${servedBy} before, and now ${said} (${answer.place})`, {
        remedy: 'check region, endpoint and login of the key store: they lead to another place than before',
      });
    }
    if (answer.status === 403) {
      const remedy = "grant observer or creator to the plugin's user, or let it read the secret in the secret's ACL";
      return new KmsError('ERR_KMS_KEY_GONE', `${what} may not be read by us: ${said}`, { remedy });
    }
    return new KmsError('ERR_KMS_KEY_GONE', `${what} was deleted, has expired or never existed: ${said}`, {
      remedy: lost,
    });
  }
}

/** Barbican's own 404 or 403. An answer of a proxy before it says nothing about the key. */
function isRefusal(answer: ServiceAnswer): boolean {
  return (answer.status === 404 || answer.status === 403) && errorBody(answer).own;
}

function unexpected(answer: ServiceAnswer, doing: string): KmsError {
  const { text } = errorBody(answer);
  const said = `${doing}: Barbican answered ${answer.status}${text && `: ${text}`}`;
  if (answer.status !== 403) return unavailable(said);
  return unavailable(`${said} (roles: ${answer.token.roles.join(', ') || 'none'})`, {
    remedy: "grant creator to the plugin's user, or observer to only read",
  });
}

function infoOf(secret: unknown, wanted: string): SecretInfo | undefined {
  const { secret_ref, name, creator_id, created, status, content_types } = (secret ?? {}) as Record<string, unknown>;
  const id = idOf(secret_ref);
  const time = parseTime(created);
  const complete = status === 'ACTIVE' && Boolean(content_types);
  // Barbican's own comparison knows wildcards and, on some databases, no case.
  if (name !== wanted || id === undefined || Number.isNaN(time)) return undefined;
  return typeof creator_id === 'string' ? { id, complete, creator: creator_id, created: time } : undefined;
}

/** Returns the UUID of a ref to a secret, `.../secrets/UUID`, and not to anything else. Nothing is ever sent to the host in it: Barbican's configuration chooses that. */
function idOf(ref: unknown): string | undefined {
  const [kind, id] = typeof ref === 'string' ? ref.toLowerCase().split('/').slice(-2) : [];
  return kind === 'secrets' && id !== undefined && UUID.test(id) ? id : undefined;
}
