import { createPrivateKey, X509Certificate } from 'node:crypto';
import { resolve } from 'node:path';
import { exposureOf } from '../../../util/trusted-path.ts';
import type { Distrust } from '../../../util/trusted-path.ts';
import { readNamedFile, unusable } from './load.ts';
import type { Entry } from './load.ts';
import type { User } from './schema.ts';

/** What shows an API server who is calling: a token, a client certificate with its key, or both. */
export interface Identity {
  readonly token?: string | undefined;
  /** PEM. */
  readonly cert?: Buffer | undefined;
  /** PEM. */
  readonly key?: Buffer | undefined;
  /** Epoch ms. */
  readonly expiresAt?: number | undefined;
}

/**
 * The identity that a user's entry holds or names in files. `undefined`: an exec plugin gives it. As in client-go, a plugin
 * is used only where there is nothing else.
 *
 * @throws {@link KmsError} as `loadTarget`
 */
export async function staticIdentity(user: Entry<User>): Promise<Identity | undefined> {
  const { value, where } = user;
  if (value.username !== undefined || value.password !== undefined) {
    throw unusable(`${where}: username and password are not supported: kube-apiserver has no such login since 1.19`);
  }
  if (value['auth-provider'] !== undefined && value['auth-provider'] !== null) {
    throw unusable(`${where}: auth-provider is not supported`, 'use an exec plugin (exec) instead of auth-provider');
  }
  const token = await readToken(user);
  const cert = await readPem(user, 'client-certificate');
  const key = cert && (await readPem(user, 'client-key'));
  if (cert) checkPair(cert, key, `${where}: client-certificate and client-key`);
  if (token !== undefined || cert) return { token, cert, key };
  if (value.exec) return undefined;
  throw unusable(`${where}: expected token, tokenFile, client-certificate or exec, found none of them`);
}

/** Where the kubelet mounts tokens for a pod, readable for all of it. */
const POD_SECRETS = '/var/run/secrets/';

/** Files with a secret that a user's entry names, and that everyone can read. The kubeconfig itself is refused then (`loadTarget`). */
export async function exposedFiles({ value, directory }: Entry<User>): Promise<Distrust[]> {
  const named = [value.tokenFile, value['client-key']].filter((path) => path !== undefined);
  const paths = named.map((path) => resolve(directory, path)).filter((path) => !path.startsWith(POD_SECRETS));
  return (await Promise.all(paths.map(exposureOf))).filter((found) => found !== undefined);
}

/** The bytes of `FIELD-data`, or of the file that `FIELD` names. */
export async function readPem<F extends string>(
  { value, where, directory }: Entry<Partial<Record<F | `${F}-data`, string | undefined>>>,
  field: F,
): Promise<Buffer | undefined> {
  const [path, data] = [value[field], value[`${field}-data`]];
  if (path !== undefined && data !== undefined) {
    throw unusable(`${where}: expected either ${field} or ${field}-data, found both`);
  }
  if (data !== undefined) return Buffer.from(data, 'base64');
  return path === undefined ? undefined : readNamedFile(resolve(directory, path), `${where}: ${field}`);
}

/** The file wins while it can be read. */
async function readToken({ value, where, directory }: Entry<User>): Promise<string | undefined> {
  const { token, tokenFile } = value;
  if (tokenFile !== undefined) {
    try {
      const bytes = await readNamedFile(resolve(directory, tokenFile), `${where}: tokenFile`);
      return checkToken(bytes.toString('utf8'), `${where}: tokenFile ${tokenFile}`);
    } catch (error) {
      if (token === undefined) throw error;
    }
  }
  return token === undefined ? undefined : checkToken(token, `${where}: token`);
}

/** @throws {@link KmsError} `ERR_KMS_INVALID_URI` for what no `Authorization` header can carry */
export function checkToken(text: string, where: string): string {
  const token = text.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) throw unusable(`${where}: expected a bearer token of printable ASCII characters`);
  return token;
}

/** @throws {@link KmsError} `ERR_KMS_INVALID_URI` for a certificate and a key that do not belong together */
export function checkPair(cert: Buffer | undefined, key: Buffer | undefined, where: string): void {
  let matches = false;
  try {
    matches = new X509Certificate(cert ?? '').checkPrivateKey(createPrivateKey(key ?? ''));
  } catch {
    // The parser's message says nothing that helps.
  }
  if (!matches) throw unusable(`${where}: expected a certificate and its private key, both in PEM`);
}

/** Headers of the user that the caller acts as, as client-go's transport sets them. */
export function impersonation({ value, where }: Entry<User>): Record<string, string | string[]> {
  const { as: user, 'as-uid': uid, 'as-groups': groups, 'as-user-extra': extra } = value;
  const headers = {
    ...(user !== undefined && { 'impersonate-user': user }),
    ...(uid !== undefined && { 'impersonate-uid': uid }),
    ...(groups.length > 0 && { 'impersonate-group': groups }),
    ...Object.fromEntries(
      Object.entries(extra ?? {}).map(([key, values]) => [`impersonate-extra-${encodeURIComponent(key)}`, values]),
    ),
  };
  if (user === undefined && Object.keys(headers).length > 0) {
    throw unusable(`${where}: expected "as" beside as-uid, as-groups and as-user-extra, found none`);
  }
  return headers;
}
