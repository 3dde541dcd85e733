import type { Endpoint } from './endpoint.ts';
import { inspection } from './messages.ts';
import { toRpcError } from './status-codes.ts';

/** Returns the state of a running instance, for `teapot-kms status` and `doctor`. */
export function inspectionEndpoint(describe: () => object): Endpoint {
  return {
    path: '/teapotkms.v1.Inspection/Describe',
    api: 'inspection',
    method: 'Describe',
    toRpcError,
    handle: () => inspection.DescribeResponse.answer({ json: JSON.stringify(describe()) }),
  };
}
