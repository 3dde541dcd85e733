import { randomBytes } from 'node:crypto';
import { KmsError } from '../../errors.ts';
import type { Finding } from '../../finding.ts';
import type { BarbicanClient } from './client.ts';
import { inTheClear, USE_HTTPS } from './keystone/session.ts';
import type { KeystoneSession } from './keystone/session.ts';
import type { AccessRule, Token } from './keystone/token.ts';

/** Differences between two clocks up to this, in ms, are normal. */
const CLOCK_TOLERANCE_MS = 30_000;

/** Roles that may create and delete secrets by Barbican's default policy. */
const WRITERS = ['creator', 'admin', 'key-manager:service-admin'];

/** Checks login, roles, clock and catalog, and makes, reads and removes a test secret, for `doctor`. */
export async function examineBarbican(
  session: KeystoneSession,
  client: BarbicanClient,
  signal: AbortSignal,
): Promise<Finding[]> {
  let token: Token;
  try {
    token = await session.token(signal);
  } catch (error) {
    return [problem('no token', error, 'fix the login to OpenStack')];
  }
  const findings = [aboutLogin(token), aboutRoles(token), aboutClock(token)];
  if (!(await session.verifiesCertificates(signal))) {
    const text = 'certificates of OpenStack are not verified: whoever is in between reads the keys';
    findings.push({
      level: 'hint',
      text,
      remedy: 'remove tls-insecure (insecure, verify: false), and set the CA instead',
    });
  }
  const plain = await session.plainUrls(signal);
  if (plain.length > 0) findings.push({ level: 'hint', text: inTheClear(plain), remedy: USE_HTTPS });
  try {
    findings.push({ level: 'ok', text: `Barbican is at ${await session.keyManagerUrl(signal)}` });
  } catch (error) {
    return [...findings, problem('no Barbican', error, 'set region, interface or endpoint, or correct the catalog')];
  }
  const { roles, accessRules } = token;
  if (accessRules) {
    const rules = accessRules.map(({ service, method, path }) => `${method} ${path} of ${service}`);
    findings.push({ level: 'ok', text: `access rules allow: ${rules.join(', ')}` });
  }
  const mayWrite = roles.some((role) => WRITERS.includes(role)) && allowRoundTrip(accessRules);
  return mayWrite ? [...findings, await roundTrip(client, signal)] : findings;
}

/** Paths are not compared, as a rule may have wildcards. */
function allowRoundTrip(rules: readonly AccessRule[] | undefined): boolean {
  const methods = rules?.filter(({ service }) => service === 'key-manager').map(({ method }) => method);
  return methods === undefined || ['POST', 'PUT', 'GET', 'DELETE'].every((method) => methods.includes(method));
}

function aboutLogin({ user, project, expiresAt, issuedAt }: Token): Finding {
  const where = project ? `project ${project.name} (${project.id})` : 'no project';
  const life = Math.round((expiresAt - issuedAt) / 1000);
  const text = `logged in as ${user.name} (${user.id}) in ${where}; a token is valid for ${life} s`;
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
    const remedy = 'give the plugin an application credential of its own with only the role creator or observer';
    return { level: 'hint', text: `${text}: far more than it needs`, remedy };
  }
  if (roles.some((role) => WRITERS.includes(role))) return { level: 'ok', text };
  if (roles.includes('observer')) {
    return { level: 'ok', text: `${text}: enough to serve; "keys generate" needs creator` };
  }
  const missing = `${text}: Barbican's default policy requires observer or creator`;
  return { level: 'hint', text: missing, remedy: 'grant observer or creator' };
}

function aboutClock({ clockSkewMs }: Token): Finding {
  const seconds = Math.round(clockSkewMs / 1000);
  const text = `this host's clock is ${Math.abs(seconds)} s ${seconds < 0 ? 'behind' : 'ahead of'} Keystone's`;
  if (Math.abs(clockSkewMs) <= CLOCK_TOLERANCE_MS) return { level: 'ok', text };
  const remedy = 'synchronize the clocks (chrony, systemd-timesyncd): the validity of certificates depends on them';
  return { level: 'hint', text, remedy };
}

async function roundTrip(client: BarbicanClient, signal: AbortSignal): Promise<Finding> {
  const bytes = randomBytes(32);
  try {
    const id = await client.create('teapot-kms-doctor', bytes, signal);
    try {
      const read = await client.payload(id, signal);
      if (!read.expose().equals(bytes)) {
        const remedy = "look into Barbican's log: it does not return what was stored";
        return { level: 'problem', text: 'a test secret came back changed', remedy };
      }
    } finally {
      await client.delete(id);
    }
    return { level: 'ok', text: 'a test secret was made, read and removed' };
  } catch (error) {
    return problem('a test secret failed', error, "look into Barbican's log");
  } finally {
    bytes.fill(0);
  }
}

/** @param fallback - the remedy if the error has none of its own */
function problem(what: string, error: unknown, fallback: string): Finding {
  const { message, remedy } = KmsError.from(error, 'ERR_KMS_STORE_UNAVAILABLE');
  return { level: 'problem', text: `${what}: ${message}`, remedy: remedy ?? fallback };
}
