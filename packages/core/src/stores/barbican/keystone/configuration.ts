import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import * as z from 'zod';
import { KmsError, unavailable } from '../../../errors.ts';
import { FileRefused, readSmallFile } from '../../../util/small-file.ts';
import { distrustOfAsync, exposureOf } from '../../../util/trusted-path.ts';
import { cloudOf } from './cloud.ts';
import type { Cloud, Fields } from './cloud.ts';
import { cloudsOfCloudConf, fieldsOfCloudConf, parseIni } from './cloud-conf.ts';
import { fieldsOfCloudsYaml } from './clouds-yaml.ts';

const path = z.string().refine(isAbsolute, 'expected an absolute path');
const text = z.string().min(1);

/** Where the login comes from, and what it leaves open. */
export const cloudSettings = z.strictObject({
  cloudConfig: path.optional().describe('log in with this cloud.conf of cloud-provider-openstack'),
  cloud: z
    .strictObject({ name: text.optional(), file: path.optional() })
    .optional()
    .describe(
      'log in with this cloud of a clouds.yaml (and secure.yaml beside it). Without cloudConfig and cloud: OS_* variables',
    ),
  auth: z
    .never({
      error:
        'was removed; write the login into a clouds.yaml and name it here as cloud: { name: NAME, file: /path/to/clouds.yaml }',
    })
    .optional()
    .describe('removed: use cloud'),
  region: text.optional().describe('region of the catalog; needed if it has several'),
  interface: z.enum(['public', 'internal', 'admin']).optional().describe("which of the catalog's URLs"),
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("URL of Barbican, in place of the catalog's"),
  caFile: path.optional().describe('certificates of the authorities to trust, PEM'),
});

/** Bytes of a cloud.conf: 2,000 lines. */
export const MAX_CLOUD_CONF_BYTES = 64 * 1024;
/** Bytes of a clouds.yaml, or of certificates: all authorities of a system take 220 kB. */
const MAX_FILE_BYTES = 1024 * 1024;

export type CloudSettings = z.output<typeof cloudSettings>;

export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads a cloud anew each time, so that a changed credential is picked up. */
export class CloudConfiguration {
  /** Where the login comes from, for errors. */
  readonly where: string;
  /** Equal for all instances that log in in the same way. Holds no secret. */
  readonly key: string;
  readonly #settings: CloudSettings;
  readonly #environment: Environment;

  /**
   * @param environment - variables of the process. They are used if the settings name no file
   * @throws {@link KmsError} `ERR_KMS_INVALID_URI` for settings that contradict each other
   */
  constructor(settings: CloudSettings, environment: Environment) {
    const { cloudConfig, cloud, region, interface: name, endpoint, caFile } = settings;
    if (cloudConfig !== undefined && cloud) {
      throw new KmsError('ERR_KMS_INVALID_URI', 'expected only one of cloudConfig and cloud', {
        remedy: 'remove one of cloudConfig and cloud',
      });
    }
    this.#settings = settings;
    this.#environment = environment;
    this.where = cloudConfig ?? (cloud ? (cloud.file ?? 'clouds.yaml') : 'the environment (OS_*)');
    this.key = JSON.stringify([cloudConfig, cloud, region, name, endpoint, caFile]);
  }

  /**
   * @returns the cloud, and a hash of it, which changes with the configuration
   * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that names file and line, and what is missing
   */
  async read(): Promise<{ readonly cloud: Cloud; readonly fingerprint: string }> {
    const { region, interface: name, endpoint, caFile } = this.#settings;
    const own = { region_name: region, interface: name, key_manager_endpoint_override: endpoint, cacert: caFile };
    const cloud = cloudOf([(field) => own[field as keyof typeof own], ...(await this.#places())], this.where);
    return { cloud, fingerprint: createHash('sha256').update(JSON.stringify(cloud)).digest('hex') };
  }

  async #places(): Promise<Fields[]> {
    const { cloudConfig, cloud } = this.#settings;
    if (cloudConfig !== undefined) {
      const sections = parseIni(await readText(cloudConfig, MAX_CLOUD_CONF_BYTES), cloudConfig);
      const clouds = cloudsOfCloudConf(sections);
      const own = fieldsOfCloudConf(sections);
      return clouds ? [own, await this.#cloudsYaml(clouds.file, clouds.cloud)] : [own];
    }
    if (cloud) return [await this.#cloudsYaml(cloud.file, cloud.name)];
    const fields: Fields = (name) => this.#environment[`OS_${name.toUpperCase()}`];
    const name = fields('cloud');
    return name ? [fields, await this.#cloudsYaml(undefined, name)] : [fields];
  }

  async #cloudsYaml(file: string | undefined, cloud: string | undefined): Promise<Fields> {
    const named = file ?? this.#environment['OS_CLIENT_CONFIG_FILE'];
    const places = named ? [named] : [join(homedir(), '.config/openstack/clouds.yaml'), '/etc/openstack/clouds.yaml'];
    for (const place of places) {
      const found = await readIfThere(place);
      if (found === undefined) continue;
      const secure = this.#environment['OS_CLIENT_SECURE_FILE'] ?? join(dirname(place), 'secure.yaml');
      return fieldsOfCloudsYaml(found, await readIfThere(secure), cloud, place);
    }
    throw missing(places.join(', '));
  }
}

/** A field with a secret, in an INI file or in YAML, or a private key. */
const SECRET =
  /^-----BEGIN [A-Z ]*PRIVATE KEY|^[ \t]*["']?(password|auth_token|token|application[_-]credential[_-]secret)["']?\s*[:=]\s*\S/m;

/** @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE`, also if somebody else could change the file, or everyone read a secret in it */
export async function readText(file: string, maxBytes = MAX_FILE_BYTES): Promise<string> {
  const found = await readIfThere(file, maxBytes);
  if (found === undefined) throw missing(file);
  return found;
}

async function readIfThere(file: string, maxBytes = MAX_FILE_BYTES): Promise<string | undefined> {
  const distrust = await distrustOfAsync(file);
  if (distrust) throw unavailable(distrust.text, { remedy: distrust.remedy });
  try {
    const text = (await readSmallFile(file, maxBytes)).toString('utf8');
    const exposure = SECRET.test(text) ? await exposureOf(file) : undefined;
    if (exposure) throw unavailable(exposure.text, { remedy: exposure.remedy });
    return text;
  } catch (error) {
    if (error instanceof KmsError) throw error;
    if (error instanceof FileRefused) throw unavailable(error.message, { remedy: `make ${file} a file of that kind` });
    const { code = 'cannot be read' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === 'EISDIR') {
      throw unavailable(`${file}: expected a regular file, found a directory`, {
        remedy: `make ${file} a file of that kind`,
      });
    }
    throw unavailable(`${file}: ${code === 'EACCES' ? 'permission denied' : code}`, {
      remedy: `let the user of the plugin read ${file}`,
      cause: error,
    });
  }
}

const missing = (files: string): KmsError =>
  unavailable(`${files}: no such file`, { remedy: 'create the file, or correct its path in the configuration' });
