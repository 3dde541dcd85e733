import type { TestCloud } from '@teapot-kms/testing/daemons';
import { rememberSecret } from '@teapot-kms/testing';
import { randomBytes } from 'node:crypto';

interface WithId {
  readonly id: string;
}

/** A project and a user of its own with the role `creator`, to take things away from without hurting another test. */
export class Tenant {
  readonly project: string;
  readonly user: string;
  /** Variables of a `cloud.conf`. */
  readonly login: Readonly<Record<string, string>>;
  readonly #cloud: TestCloud;
  readonly #password: string;
  readonly #name: string;

  private constructor(cloud: TestCloud, project: string, user: string, name: string, password: string) {
    this.project = project;
    this.user = user;
    this.#cloud = cloud;
    this.#name = name;
    this.#password = password;
    this.login = { 'user-id': user, password, 'tenant-id': project };
  }

  static async create(cloud: TestCloud): Promise<Tenant> {
    const { admin, state } = cloud.openStack;
    const name = `t-${randomBytes(4).toString('hex')}`;
    const password = randomBytes(18).toString('hex');
    rememberSecret(Buffer.from(password));
    const project = { name, domain_id: 'default' };
    const made = (await admin.call('POST', '/projects', { project })) as { project: WithId };
    const user = { name, domain_id: 'default', password };
    const person = (await admin.call('POST', '/users', { user })) as { user: WithId };
    const tenant = new Tenant(cloud, made.project.id, person.user.id, name, password);
    await tenant.grant(state.roles.creator);
    return tenant;
  }

  async grant(role = this.#cloud.openStack.state.roles.creator): Promise<void> {
    await this.#cloud.openStack.admin.call('PUT', `/projects/${this.project}/users/${this.user}/roles/${role}`);
  }

  async takeRole(role = this.#cloud.openStack.state.roles.creator): Promise<void> {
    await this.#cloud.openStack.admin.call('DELETE', `/projects/${this.project}/users/${this.user}/roles/${role}`);
  }

  async setProjectEnabled(enabled: boolean): Promise<void> {
    await this.#cloud.openStack.admin.call('PATCH', `/projects/${this.project}`, { project: { enabled } });
  }

  /** Makes an application credential. @returns variables of a `cloud.conf`, and what deletes it */
  async applicationCredential(
    more: object = {},
  ): Promise<{ login: Record<string, string>; remove: () => Promise<void> }> {
    const { openStack } = this.#cloud;
    const call = async (method: string, path: string, body?: object) => {
      const answer = await fetch(`${openStack.keystoneUrl}/v3/users/${this.user}/application_credentials${path}`, {
        method,
        headers: {
          'x-auth-token': await openStack.admin.token(this.#name, this.#password, this.#name),
          'content-type': 'application/json',
        },
        ...(body && { body: JSON.stringify(body) }),
      });
      if (!answer.ok) throw new Error(`${method} application credential: ${answer.status} ${await answer.text()}`);
      return answer;
    };
    const name = randomBytes(4).toString('hex');
    const body = { application_credential: { name, roles: [{ name: 'creator' }], ...more } };
    const made = (await (await call('POST', '', body)).json()) as {
      application_credential: WithId & { secret: string };
    };
    const { id, secret } = made.application_credential;
    rememberSecret(Buffer.from(secret));
    const remove = async () => {
      await call('DELETE', `/${id}`);
    };
    const login = { 'application-credential-id': id, 'application-credential-secret': secret };
    return { login, remove };
  }
}
