import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { newKeyId } from '@teapot-kms/core';
import { freePort, launcher } from '@teapot-kms/testing/daemons';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { grpcCode, seed } from './support/calls.ts';
import { eventually, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('a log that cannot be written');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

const INVALID_ARGUMENT = 3;
const FAILED_PRECONDITION = 9;

for (const [what, shell] of [
  ['a pipe whose reader stands still', 'exec "$@" 2> >(exec sleep 600)'],
  ['a pipe that nobody reads', 'exec "$@" 2> >(exec true)'],
  ['a device without space', 'exec "$@" 2> /dev/full'],
] as const) {
  test(`${what}: the plugin starts, serves every call, counts what it drops, and ends`, async ({ site }) => {
    const id = site.generate('main');
    const port = await freePort();
    site.writeConfig([site.instance('main')], `http: { port: ${port} }\nshutdownGrace: 3s\n`);
    const plugin = spawn('/bin/bash', ['-c', shell, 'bash', launcher(), 'serve', '--config', site.configFile], {
      stdio: 'ignore',
      detached: true,
    });
    try {
      await eventually(() =>
        withClient(site.socket('main'), async (client) => assert.is((await client.status()).keyId, id)),
      );
      await withClient(site.socket('main'), async (client) => {
        // Level debug logs 1,000 calls a second. A pipe holds 64 KiB, and 1 MiB waits.
        const { ciphertext } = await client.encrypt(seed(), 'uid');
        for (let dropped = 0; dropped === 0;) {
          const calls = Array.from({ length: 500 }, () => client.decrypt(ciphertext, id, 'x'.repeat(60)));
          await Promise.all(calls);
          assert.is(await grpcCode(client.decrypt(Buffer.from('no envelope'), id, 'uid')), INVALID_ARGUMENT);
          const text = await get(port, '/metrics');
          dropped = Number(/^teapot_kms_log_lines_dropped_total (\d+)$/m.exec(text)?.[1]);
        }
      });
      assert.is(await get(port, '/livez'), 'ok\n');
      plugin.kill('SIGTERM');
      const [code] = (await once(plugin, 'exit')) as [number | null];
      assert.is(code, 0);
    } finally {
      endGroup(plugin.pid!);
    }
  });
}

test('of many unknown keys, which callers choose, a few a second are logged, and the number of the others', async ({
  site,
}) => {
  const id = site.generate('main');
  site.writeConfig([site.instance('main')]);
  const plugin = await site.serve();
  const ids = Array.from({ length: 100 }, () => newKeyId());
  await withClient(site.socket('main'), async (client) => {
    const { ciphertext } = await client.encrypt(seed(), 'uid');
    const refused = ids.map((other) => {
      const forged = Buffer.from(ciphertext);
      forged.write(other, forged.indexOf(id));
      return grpcCode(client.decrypt(forged, other, 'uid'));
    });
    assert.equal(new Set(await Promise.all(refused)), new Set([FAILED_PRECONDITION]));
  });
  await plugin.logged('more unknown keys in this second');
  await eventually(() => {
    const lines = plugin.log.trimEnd().split('\n');
    const logged = lines.filter((line) => line.includes('names a key that is not in the keyset')).length;
    const others = lines.filter((line) => line.includes('more unknown keys'));
    const suppressed = others.reduce((sum, line) => sum + (JSON.parse(line) as { suppressed: number }).suppressed, 0);
    assert.is(logged + suppressed, ids.length);
    assert.ok(logged <= 5 * (others.length + 1));
  });
});

/** Ends what reads the pipe, and a plugin that a failed test has left. */
function endGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // All have ended.
  }
}

async function get(port: number, path: string): Promise<string> {
  const sent = request({ host: '127.0.0.1', port, path, agent: false }).end();
  const [answer] = (await once(sent, 'response')) as [AsyncIterable<Buffer>];
  let body = '';
  for await (const chunk of answer) body += chunk.toString();
  return body;
}

test.run();
