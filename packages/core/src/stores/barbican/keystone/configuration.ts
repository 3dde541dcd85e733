import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import { KmsError } from '../../../errors.ts';
import { cloudOf } from './cloud.ts';
import type { Cloud } from './cloud.ts';
import { cloudsOfCloudConf, fieldsOfCloudConf, parseIni } from './cloud-conf.ts';
import { fieldsOfCloudsYaml } from './clouds-yaml.ts';
import { fieldsOfEnvironment, mergeFields } from './fields.ts';
import type { CloudFields, Environment } from './fields.ts';

const path = z.string().refine(isAbsolute, 'expected an absolute path');
const text = z.string().min(1);

/** Where the login comes from, and what it leaves open: part of the settings of every key store in OpenStack. */
export const cloudSettings = z.strictObject({
  cloudConfig: path.optional().describe('log in as this cloud.conf of cloud-provider-openstack says'),
  cloud: z
    .strictObject({ name: text.optional(), file: path.optional() })
    .optional()
    .describe('log in as this cloud of a clouds.yaml (with secure.yaml beside it) says'),
  auth: z
    .strictObject({
      authUrl: text,
      applicationCredentialId: text,
      applicationCredentialName: text,
      applicationCredentialSecretFile: path,
      userId: text,
      username: text,
      passwordFile: path,
      userDomainId: text,
      userDomainName: text,
      projectId: text,
      projectName: text,
      projectDomainId: text,
      projectDomainName: text,
      domainId: text,
      domainName: text,
      trustId: text,
      tokenFile: path,
      certFile: path,
      keyFile: path,
    })
    .partial()
    .optional()
    .describe('log in with these; what is secret stands in files. Without cloudConfig, cloud and auth: OS_* variables'),
  region: text.optional().describe('region of the catalog'),
  interface: z.enum(['public', 'internal', 'admin']).optional().describe("which of the catalog's URLs"),
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("URL of Barbican, in place of the catalog's"),
  caFile: path.optional().describe('certificates of the authorities to trust, PEM'),
});

export type CloudSettings = z.output<typeof cloudSettings>;

/** Reads a cloud anew each time, so that a changed credential is picked up. */
export class CloudConfiguration {
  /** What errors and people call it. */
  readonly where: string;
  /** The same for all that log in in the same way; holds nothing secret. */
  readonly key: string;
  readonly #settings: CloudSettings;
  readonly #environment: Environment;

  /**
   * @param environment - of the process, looked at where the settings name nothing else
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI` for settings that contradict each other
   */
  constructor(settings: CloudSettings, environment: Environment) {
    const { cloudConfig, cloud, auth, region, interface: name, endpoint, caFile } = settings;
    if ([cloudConfig, cloud, auth].filter((one) => one !== undefined).length > 1) {
      throw new KmsError('ERR_KMS_INVALID_URI', 'expected only one of cloudConfig, cloud and auth');
    }
    this.#settings = settings;
    this.#environment = environment;
    this.where = cloudConfig ?? (cloud ? (cloud.file ?? 'clouds.yaml') : auth ? 'auth' : 'the environment (OS_*)');
    this.key = JSON.stringify([cloudConfig, cloud, auth, region, name, endpoint, caFile]);
  }

  /**
   * @returns the cloud, and a hash of all that was read, to see that it changed
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that names file and line, and what is missing
   */
  async read(): Promise<{ readonly cloud: Cloud; readonly fingerprint: string }> {
    const { region, interface: name, endpoint, caFile } = this.#settings;
    const over = { region, interface: name, keyManagerEndpoint: endpoint, caFile };
    const cloud = cloudOf(mergeFields(over, await this.#fields()), this.where);
    return { cloud, fingerprint: createHash('sha256').update(JSON.stringify(cloud)).digest('hex') };
  }

  async #fields(): Promise<CloudFields> {
    const { cloudConfig, cloud, auth } = this.#settings;
    if (cloudConfig !== undefined) {
      const sections = parseIni(await readText(cloudConfig), cloudConfig);
      const clouds = cloudsOfCloudConf(sections);
      const own = fieldsOfCloudConf(sections);
      return clouds ? mergeFields(own, await this.#cloudsYaml(clouds.file, clouds.cloud)) : own;
    }
    if (cloud) return this.#cloudsYaml(cloud.file, cloud.name);
    if (auth) return fieldsOfAuth(auth);
    const fields = fieldsOfEnvironment(this.#environment);
    const name = this.#environment['OS_CLOUD'];
    return name ? mergeFields(fields, await this.#cloudsYaml(undefined, name)) : fields;
  }

  async #cloudsYaml(file: string | undefined, cloud: string | undefined): Promise<CloudFields> {
    const named = file ?? this.#environment['OS_CLIENT_CONFIG_FILE'];
    const places = named ? [named] : [join(homedir(), '.config/openstack/clouds.yaml'), '/etc/openstack/clouds.yaml'];
    for (const place of places) {
      const found = await readIfThere(place);
      if (found === undefined) continue;
      const secure = this.#environment['OS_CLIENT_SECURE_FILE'] ?? join(dirname(place), 'secure.yaml');
      return fieldsOfCloudsYaml(found, await readIfThere(secure), cloud, place);
    }
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${places.join(', ')}: no such file`);
  }
}

async function fieldsOfAuth(auth: NonNullable<CloudSettings['auth']>): Promise<CloudFields> {
  const { passwordFile, applicationCredentialSecretFile, tokenFile, ...fields } = auth;
  const secret = async (file: string | undefined) => (file === undefined ? undefined : (await readText(file)).trim());
  return {
    ...fields,
    password: await secret(passwordFile),
    applicationCredentialSecret: await secret(applicationCredentialSecretFile),
    token: await secret(tokenFile),
  };
}

/** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` */
export async function readText(file: string): Promise<string> {
  const found = await readIfThere(file);
  if (found === undefined) throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${file}: no such file`);
  return found;
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const { code = 'cannot be read' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${file}: ${code === 'EACCES' ? 'permission denied' : code}`);
  }
}
