import { randomBytes } from 'node:crypto';
import type { KeystoneSession } from './keystone/session.ts';
import type { AccessRule, Token } from './keystone/token.ts';
import type { Finding } from '../../finding.ts';
import type { BarbicanClient } from './client.ts';

/** ms of difference between two clocks that nobody needs to look at. */
const CLOCK_TOLERANCE_MS = 30_000;

/** Roles that Barbican's default policy lets create and delete secrets. */
const WRITERS = ['creator', 'admin', 'key-manager:service-admin'];
const READERS = [...WRITERS, 'observer'];

/** Login, role, clock, catalog, and a secret made, read and removed: what `doctor` shows of a cloud. */
export async function examineBarbican(
  session: KeystoneSession,
  client: BarbicanClient,
  signal: AbortSignal,
): Promise<Finding[]> {
  let token: Token;
  try {
    token = await session.token(signal);
  } catch (error) {
    const text = `no token: ${(error as Error).message}`;
    return [{ level: 'problem', text, remedy: `mend the login to OpenStack: ${(error as Error).message}` }];
  }
  const remarks = [aboutLogin(token), aboutRoles(token), aboutClock(token)];
  try {
    remarks.push({ level: 'ok', text: `Barbican is at ${await session.keyManagerUrl(signal)}` });
  } catch (error) {
    const text = (error as Error).message;
    return [
      ...remarks,
      { level: 'problem', text, remedy: `set region, interface or endpoint, or mend the catalog: ${text}` },
    ];
  }
  const { roles, accessRules } = token;
  if (accessRules) {
    const rules = accessRules.map(({ service, method, path }) => `${method} ${path} of ${service}`);
    remarks.push({ level: 'ok', text: `access rules allow: ${rules.join(', ')}` });
  }
  if (mayDoAll(accessRules) && roles.some((role) => WRITERS.includes(role)))
    remarks.push(await roundTrip(client, signal));
  return remarks;
}

/** What the round trip takes. Paths are not compared: a rule may have wildcards. */
function mayDoAll(rules: readonly AccessRule[] | undefined): boolean {
  const here = rules?.filter(({ service }) => service === 'key-manager').map(({ method }) => method);
  return here === undefined || ['POST', 'PUT', 'GET', 'DELETE'].every((method) => here.includes(method));
}

function aboutLogin({ user, project, expiresAt, issuedAt }: Token): Finding {
  const where = project ? `project ${project.name} (${project.id})` : 'no project';
  const life = Math.round((expiresAt - issuedAt) / 1000);
  const text = `logged in as ${user.name} (${user.id}) in ${where}; a token lives ${life} s`;
  if (project) return { level: 'ok', text };
  return {
    level: 'problem',
    text,
    remedy: 'name a project, or use an application credential: Barbican needs a project',
  };
}

function aboutRoles({ roles }: Token): Finding {
  const text = `roles: ${roles.join(', ') || 'none'}`;
  if (roles.includes('admin')) {
    const remedy = 'give the plugin an application credential of its own with the role creator or observer only';
    return { level: 'hint', text: `${text}: far more than is needed`, remedy };
  }
  if (roles.some((role) => WRITERS.includes(role))) return { level: 'ok', text };
  if (roles.some((role) => READERS.includes(role))) {
    return { level: 'ok', text: `${text}: enough to serve; "keys generate" needs creator` };
  }
  return {
    level: 'hint',
    text: `${text}: Barbican's default policy wants observer or creator`,
    remedy: 'grant observer or creator',
  };
}

function aboutClock({ clockSkewMs }: Token): Finding {
  const seconds = Math.round(clockSkewMs / 1000);
  const text = `this host's clock is ${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead of'} Keystone's`;
  if (Math.abs(clockSkewMs) <= CLOCK_TOLERANCE_MS) return { level: 'ok', text };
  return { level: 'hint', text, remedy: 'set the clocks (chrony, systemd-timesyncd): certificates are judged by them' };
}

async function roundTrip(client: BarbicanClient, signal: AbortSignal): Promise<Finding> {
  const bytes = randomBytes(32);
  try {
    const id = await client.create('teapot-kms-doctor', bytes, signal);
    try {
      const read = await client.payload(id, signal);
      if (!read.expose().equals(bytes)) {
        const remedy = 'look into the log of Barbican: it does not give back what was stored';
        return { level: 'problem', text: 'a test secret came back changed', remedy };
      }
    } finally {
      await client.delete(id, signal);
    }
    return { level: 'ok', text: 'a test secret was made, read and removed' };
  } catch (error) {
    const { message } = error as Error;
    return { level: 'problem', text: `a test secret: ${message}`, remedy: `mend Barbican: ${message}` };
  } finally {
    bytes.fill(0);
  }
}
