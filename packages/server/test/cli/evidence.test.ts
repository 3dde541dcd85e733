import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { evidenceOf, reachableReports } from '../../src/cli/evidence.ts';
import { UsageError } from '../../src/cli/exit-codes.ts';

const body = (replica: string, nonce: string) => ({
  report: 1,
  replica,
  host: 'h',
  time: '2026-01-01T00:00:00Z',
  nonce,
  contextId: '01'.repeat(16),
  generation: 1,
  hash: '02'.repeat(32),
  reads: [1, 2],
  keys: [],
});
const printing = (text: string): string => `printf %s '${text}'`;
const OLD_NONCE = 'ab'.repeat(16);

test('a command with {host} runs for each host', async () => {
  const command = printing(JSON.stringify(body('{host}', OLD_NONCE)));
  const hosts = ['11'.repeat(8), '22'.repeat(8)];
  const { reports, problems } = await reachableReports({ fetch: [command], host: hosts, replicas: '2' });
  assert.equal(problems, []);
  assert.equal(
    reports.map(({ replica }) => replica),
    hosts,
  );
});

test('a command with {nonce} must print a report that contains it', async () => {
  const fresh = printing(JSON.stringify(body('11'.repeat(8), '{nonce}')));
  assert.is((await reachableReports({ fetch: [fresh], replicas: '1' })).reports.length, 1);
  const replayed = `${printing(JSON.stringify(body('11'.repeat(8), OLD_NONCE)))} # {nonce}`;
  const { reports, problems } = await reachableReports({ fetch: [replayed], replicas: '1' });
  assert.equal(reports, []);
  assert.match(problems[0]!.message, 'the report does not contain the nonce that was asked for');
});

test('a replica that cannot be asked is a problem beside the reports of the others', async () => {
  const good = printing(JSON.stringify(body('11'.repeat(8), OLD_NONCE)));
  const options = { fetch: [good, 'echo refused >&2; false'], replicas: '2' };
  const { reports, problems } = await reachableReports(options);
  assert.equal([reports.length, problems.length], [1, 1]);
  assert.match(problems[0]!.message, 'refused');
  await rejectsWithCode(() => evidenceOf(options), 'ERR_KMS_KEYSET_RULE');
});

for (const [what, options] of [
  ['a host that ssh would take for an option', { fetch: ['ssh {host}'], host: ['-oProxyCommand=x'] }],
  ['a host that a shell would run', { fetch: ['ssh {host}'], host: ['a;reboot'] }],
  ['{host} without hosts', { fetch: ['ssh {host}'] }],
  ['hosts without {host}', { fetch: ['ssh a'], host: ['a'] }],
] as const) {
  test(`${what} is refused`, async () => {
    const error = await reachableReports({ ...options, replicas: '1' }).catch((thrown: unknown) => thrown);
    assert.instance(error, UsageError);
  });
}

test.run();
