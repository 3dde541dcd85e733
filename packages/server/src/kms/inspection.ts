import { KmsError } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';
import type { Endpoint } from './endpoint.ts';
import { inspection } from './messages.ts';
import { toRpcError } from './status-codes.ts';

export interface Inspected {
  describe(): object;
  /** @param nonce - 32 hexadecimal digits */
  report(nonce: string): object;
}

/** The state of a running instance, for `teapot-kms status` and `doctor`, and its report for `keys promote`. */
export function inspectionEndpoints(inspected: Inspected): Endpoint[] {
  const base = { api: 'inspection', toRpcError } as const;
  return [
    {
      ...base,
      path: '/teapotkms.v1.Inspection/Describe',
      method: 'Describe',
      handle: () =>
        inspection.DescribeResponse.answer({
          json: JSON.stringify({ ...inspected.describe(), coreLimit: coreLimit() }),
        }),
    },
    {
      ...base,
      path: '/teapotkms.v1.Inspection/Report',
      method: 'Report',
      handle(request) {
        const { nonce } = inspection.ReportRequest.decode(request);
        if (!/^[0-9a-f]{32}$/.test(nonce)) {
          throw new KmsError('ERR_KMS_INVALID_REQUEST', 'expected a nonce of 32 hexadecimal digits');
        }
        return inspection.ReportResponse.answer({ json: JSON.stringify(inspected.report(nonce)) });
      },
    },
  ];
}

/** The most bytes of a core dump of this process, or `unlimited` (getrlimit(2)). `undefined` where /proc is not mounted. */
function coreLimit(): string | undefined {
  try {
    return /^Max core file size +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}
