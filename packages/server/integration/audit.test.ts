import { existsSync, readFileSync, renameSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seed } from './support/calls.ts';
import { eventually, teapot, TestSite, withClient } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('the audit log');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

type Line = Record<string, unknown>;
const linesOf = (file: string): Line[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
const head = (site: TestSite, calls: boolean): string =>
  `http: false\nshutdownGrace: 3s\naudit: { file: "${site.path('audit.log')}", calls: ${String(calls)} }\n`;

/** Waits for a line with these fields. */
const has = (file: string, fields: Line) =>
  eventually(() => {
    const found = linesOf(file).some((line) => Object.entries(fields).every(([name, value]) => line[name] === value));
    assert.ok(found, `${JSON.stringify(fields)} is missing in\n${readFileSync(file, 'utf8')}`);
  });

test('it tells the life of a key, and when the plugin started and stopped', async ({ site }) => {
  const file = site.path('audit.log');
  const first = site.generate('main');
  site.writeConfig([site.instance('main')], head(site, false));
  const plugin = await site.serve();
  await has(file, { event: 'key', instance: 'main', keyId: first, from: 'absent', to: 'promoted' });
  await has(file, { event: 'key-switched', instance: 'main', to: first });
  const second = site.generate('main');
  await has(file, { event: 'key', keyId: second, from: 'absent', to: 'pending' });
  site.promote('main', second);
  await has(file, { event: 'key', keyId: second, from: 'pending', to: 'promoted' });
  await has(file, { event: 'key-switched', from: first, to: second });
  assert.is(teapot('keys', 'retire', '--uri', site.keys('main'), first, '--unverified').code, 0);
  await has(file, { event: 'key', keyId: first, to: 'retired' });
  assert.is(await plugin.kill('SIGTERM'), 0);
  const events = linesOf(file).map(({ event }) => event);
  assert.equal([events[0], events.at(-1)], ['started', 'stopped']);
  assert.not.ok(events.includes('call'));
});

test('calls have a line with uid and key id, and SIGHUP opens the file again', async ({ site }) => {
  const file = site.path('audit.log');
  const keyId = site.generate('main');
  site.writeConfig([site.instance('main')], head(site, true));
  const plugin = await site.serve();
  const plaintext = seed();
  await withClient(site.socket('main'), async (client) => {
    const { ciphertext } = await client.encrypt(plaintext, 'uid-1');
    await has(file, { event: 'call', method: 'Encrypt', uid: 'uid-1', keyId, code: 'OK' });
    renameSync(file, `${file}.1`);
    plugin.process.kill('SIGHUP');
    // Until the signal has arrived, lines go to the renamed file.
    await eventually(async () => {
      await client.decrypt(ciphertext, keyId, 'uid-2');
      assert.ok(existsSync(file));
      await has(file, { event: 'call', method: 'Decrypt', uid: 'uid-2', keyId, code: 'OK' });
    });
  });
  for (const path of [file, `${file}.1`]) assert.not.match(readFileSync(path, 'utf8'), plaintext.toString('base64'));
});

test.run();
