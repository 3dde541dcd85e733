import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Sealed } from '../bench-token.ts';
import { v2 } from '../../../server/src/kms/messages.ts';

export interface R { readonly ok: number; readonly calls: number; readonly wrong: number; readonly seconds: number; readonly clientCpuSeconds: number; readonly targetsDoneAtMs: number[]; readonly timeline: [number, number][]; readonly failed: Record<string, number> }
export async function load(directory: string, targets: readonly { socket: string; connections: number; inFlight: number; sealed: readonly Sealed[] }[]): Promise<R> {
  const plan = {
    method: '/v2.KeyManagementService/Decrypt', once: true,
    targets: targets.map(({ sealed, ...rest }) => ({ ...rest,
      requests: sealed.map(({ ciphertext, keyId }) => v2.DecryptRequest.encode({ ciphertext, key_id: keyId, uid: 'bench' }).toString('base64')),
      answers: sealed.map(({ plaintext }) => v2.DecryptResponse.encode({ plaintext }).toString('base64')),
    })),
  };
  const file = join(directory, 'plan.json');
  writeFileSync(file, JSON.stringify(plan));
  const { stdout } = await promisify(execFile)('/tmp/nodes-teapot-bench', ['load', '-plan', file], { maxBuffer: 1e8 });
  const r = JSON.parse(stdout) as R;
  if (r.ok !== r.calls || r.wrong > 0) throw new Error(JSON.stringify(r));
  r.targetsDoneAtMs.sort((a, b) => a - b);
  return r;
}
