import { z } from 'zod';
import { KmsError } from '../../../errors.ts';
import type { Interface } from './cloud.ts';

const endpoint = z.object({ interface: z.string(), region: z.string().nullish(), url: z.string() });
/** The part of a token that says where the cloud's services are. */
export const catalogSchema = z.array(z.object({ type: z.string(), endpoints: z.array(endpoint) }));
export type Catalog = z.output<typeof catalogSchema>;

/**
 * The URL of a service in a token's catalog, without a slash at its end.
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` that says what the catalog has instead
 */
export function findEndpoint(
  catalog: Catalog,
  type: string,
  { interface: name, region }: { readonly interface: Interface; readonly region: string | undefined },
): string {
  const services = catalog.filter((service) => service.type === type);
  if (services.length === 0) {
    const types = [...new Set(catalog.map((service) => service.type))].sort().join(', ') || 'nothing';
    throw missing(`no ${type} service in the catalog (it has: ${types})`);
  }
  const endpoints = services.flatMap((service) => service.endpoints);
  const found = endpoints.find((one) => one.interface === name && (region === undefined || one.region === region));
  if (found && URL.canParse(found.url)) return found.url.replace(/\/+$/, '');
  const there = endpoints.map((one) => `${one.interface} in ${one.region ?? 'no region'}`).join(', ') || 'none';
  throw missing(
    `no ${name} endpoint of ${type}${region === undefined ? '' : ` in region ${region}`} (there are: ${there})`,
  );
}

const missing = (text: string): KmsError => new KmsError('ERR_KMS_STORE_UNAVAILABLE', text);
