import * as z from 'zod';
import { unavailable } from '../../../errors.ts';
import { safeText } from '../../../util/safe-text.ts';
import type { Cloud } from './cloud.ts';

const MAX_LIST = 300;
const MAX_URL = 2_000;

const endpoint = z.object({ interface: z.string(), region: z.string().nullish(), url: z.string() });
/** The part of a token that lists the cloud's services. */
export const catalogSchema = z.array(z.object({ type: z.string(), endpoints: z.array(endpoint) }));
export type Catalog = z.output<typeof catalogSchema>;

export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  readonly region: string | undefined;
}

/**
 * Finds a service in a token's catalog.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that lists what the catalog has instead, or the regions to choose from; for a
 * service without TLS behind a Keystone with it
 */
export function findEndpoint(
  catalog: Catalog,
  type: string,
  { interface: name, region, authUrl }: Pick<Cloud, 'interface' | 'region' | 'authUrl'>,
): Endpoint {
  const services = catalog.filter((service) => service.type === type);
  if (services.length === 0) {
    throw unavailable(`no ${type} service in the catalog (it has: ${list(catalog.map((service) => service.type))})`, {
      remedy:
        'set endpoint to the URL of Barbican, or ask the administrator of the cloud to add Barbican to the catalog',
    });
  }
  const endpoints = services.flatMap((service) => service.endpoints);
  const found = endpoints.filter((one) => one.interface === name && (region === undefined || one.region === region));
  const regions = found.map((one) => one.region ?? 'no region');
  // Each region has a Barbican of its own. In the wrong one every key would seem to be gone.
  if (new Set(regions).size > 1) {
    const remedy = `set region: one of ${list(regions)}`;
    throw unavailable(`the catalog has ${type} in several regions and none is configured; ${remedy}`, { remedy });
  }
  const [first] = found;
  const url = first && first.url.length <= MAX_URL ? first.url.replace(/\/+$/, '') : '';
  if (first && URL.canParse(url)) {
    if (authUrl.startsWith('https:') && !url.startsWith('https:')) {
      throw unavailable(
        `the catalog names ${safeText(url, MAX_LIST)} for ${type}: token and keys would travel in the clear`,
        {
          remedy:
            'correct the catalog; or set endpoint to the URL to use, with https or, if the network is trusted, with http',
        },
      );
    }
    return { url, region: first.region ?? undefined };
  }
  const there = list(endpoints.map((one) => `${one.interface} in ${one.region ?? 'no region'}`));
  const where = region === undefined ? '' : ` in region ${region}`;
  throw unavailable(`no ${name} endpoint of ${type}${where} (there are: ${there})`, {
    remedy: 'set region and interface to an endpoint that the catalog has',
  });
}

const list = (names: readonly string[]): string => safeText([...new Set(names)].sort().join(', ') || 'none', MAX_LIST);
