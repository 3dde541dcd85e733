/** The cloud's own administrator, for what goes wrong on purpose. Each method is one call of Keystone's or Barbican's API. */
export class KeystoneAdmin {
  readonly #keystone: string;
  readonly #barbican: string;
  readonly #password: string;
  #own: { readonly token: Promise<string>; readonly until: number } | undefined;

  constructor(keystone: string, barbican: string, password: string) {
    this.#keystone = keystone;
    this.#barbican = barbican;
    this.#password = password;
  }

  /** A token of a user of the domain `default`, for a project. */
  async token(user = 'admin', password = this.#password, project = 'admin'): Promise<string> {
    const domain = { id: 'default' };
    const identity = { methods: ['password'], password: { user: { name: user, domain, password } } };
    const answer = await fetch(`${this.#keystone}/v3/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth: { identity, scope: { project: { name: project, domain } } } }),
    });
    if (answer.status !== 201) throw new Error(`no token for ${user}: ${answer.status} ${await answer.text()}`);
    return answer.headers.get('x-subject-token')!;
  }

  /** A call of Keystone as its administrator. @returns the body, parsed */
  async call(method: string, path: string, body?: object): Promise<unknown> {
    // Tokens may be made to live for seconds only.
    if (!this.#own || performance.now() > this.#own.until) {
      this.#own = { token: this.token(), until: performance.now() + 3_000 };
    }
    return request(`${this.#keystone}/v3${path}`, method, await this.#own.token, body);
  }

  /** A call of Barbican with a token of {@link KeystoneAdmin.token}. */
  async barbican(token: string, method: string, path: string, body?: object): Promise<unknown> {
    return request(`${this.#barbican}/v1${path}`, method, token, body);
  }

  /** Ends a token. */
  async revoke(token: string): Promise<void> {
    const headers = { 'x-auth-token': await this.token(), 'x-subject-token': token };
    const answer = await fetch(`${this.#keystone}/v3/auth/tokens`, { method: 'DELETE', headers });
    if (answer.status !== 204) throw new Error(`the token was not revoked: ${answer.status}`);
  }
}

async function request(url: string, method: string, token: string, body: object | undefined): Promise<unknown> {
  const answer = await fetch(url, {
    method,
    headers: { 'x-auth-token': token, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${text}`);
  return text === '' ? undefined : (JSON.parse(text) as unknown);
}
