import { fullRun } from '@teapot-kms/testing';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { transports } from '../../src/transport/index.ts';
import { GrpcStatus } from '../../src/transport/seam.ts';
import { Random } from '../../test/transport/h2/random.ts';
import { grpcJsClient, http2Client } from './differential/clients.ts';
import type { DifferentialClient } from './differential/clients.ts';
import { planCall } from './differential/plan.ts';
import type { PlannedCall } from './differential/plan.ts';
import { Served } from './differential/served.ts';

const test = suite('differential');

const BATCHES = fullRun ? 500 : 20;
/** Calls of a batch run at a time. Each batch has connections and a seed of its own. */
const CALLS_PER_BATCH = 20;
const SEED = Number(process.env['TEAPOT_FUZZ_SEED'] ?? 0x7ea9_20);

/** What is compared. A text is compared where a handler made it: each transport words its own refusals. */
async function observe(served: Served, client: DifferentialClient, planned: PlannedCall): Promise<string> {
  const { path, request, cancels } = planned;
  const { status, message, body } = await client.call(planned, () => served.begun(request));
  const text = path === '/test/Fail' || path === '/test/Throw' ? message : '';
  const aborted = cancels ? await served.aborted(request) : '';
  const content = `${body.length} bytes, ${body.toString('base64')}`;
  return JSON.stringify({ status, text, aborted, content });
}

async function outcomesOf(
  served: Served,
  connect: (socket: string) => DifferentialClient,
  planned: readonly PlannedCall[],
): Promise<string[]> {
  const client = connect(served.socket);
  try {
    return await Promise.all(planned.map((call) => observe(served, client, call)));
  } finally {
    client.close();
  }
}

const describe = ({ request, ...rest }: PlannedCall): string =>
  JSON.stringify({ ...rest, request: `${request.length} bytes` });

for (const [name, connect] of [
  ['grpc-js', grpcJsClient],
  ['node:http2', http2Client],
] as const) {
  test(`${name}: ${BATCHES * CALLS_PER_BATCH} calls end alike on both transports (seed ${SEED})`, async () => {
    const servers = await Promise.all([transports['grpc-js'], transports.h2].map((one) => new Served(one).listen()));
    const statuses = new Set<number>();
    try {
      for (let batch = 0; batch < BATCHES; batch++) {
        const random = new Random(SEED + batch);
        const planned = Array.from({ length: CALLS_PER_BATCH }, () => planCall(random));
        const [expected, found] = await Promise.all(servers.map((served) => outcomesOf(served, connect, planned)));
        planned.forEach((call, n) => {
          const what = `seed ${SEED + batch}, ${describe(call)}`;
          assert.is(found![n]!.slice(0, 300), expected![n]!.slice(0, 300), what);
          assert.ok(found![n] === expected![n], what);
          statuses.add((JSON.parse(found![n]!) as { status: number }).status);
        });
      }
    } finally {
      for (const served of servers) await served.close();
    }
    // The comparison means nothing where nothing happens.
    const { OK, CANCELLED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, DEADLINE_EXCEEDED } = GrpcStatus;
    for (const status of [OK, CANCELLED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, DEADLINE_EXCEEDED])
      assert.ok(statuses.has(status), `no call ended with status ${status}`);
  });
}

test.run();
