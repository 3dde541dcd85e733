// What commands ask and show on a terminal. `script` (bsdutils, part of every Debian) gives them one.
import { launcher } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { teapot, TestSite } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('on a terminal');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(({ site }) => site.remove());

/** Runs a command on a terminal, and types the answer when it asks. */
function typing(answer: string, ...args: string[]): Promise<{ code: number | null; shown: string }> {
  const command = [launcher(), ...args].map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  let shown = '';
  let answered = false;
  child.stdout.on('data', (chunk: Buffer) => {
    shown += chunk.toString();
    if (answered || !/ Type \S+: /.test(shown)) return;
    answered = true;
    child.stdin.write(`${answer}\r`);
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, shown })));
}

test('keys generate asks before it makes a new keyset, and makes none for another answer', async ({ site }) => {
  const generate = ['keys', 'generate', '--uri', site.keys('main'), '--create-parents'];
  const refused = await typing('yes', ...generate);
  assert.is(refused.code, 2, refused.shown);
  assert.match(refused.shown, 'A new one cannot decrypt data of an existing cluster. Type new:');
  assert.match(refused.shown, 'nothing is changed');
  assert.not(existsSync(site.path('keys')));
  const made = await typing('new', ...generate);
  assert.is(made.code, 0, made.shown);
  assert.ok(existsSync(site.path('keys/main/keyset.yaml')));
});

test('keys generate does not ask for a pending key, nor with --yes', async ({ site }) => {
  const generate = ['keys', 'generate', '--uri', site.keys('main'), '--create-parents'];
  assert.is((await typing('', ...generate, '--yes')).code, 0);
  const pending = await typing('', ...generate);
  assert.is(pending.code, 0, pending.shown);
  assert.not.match(pending.shown, 'Type new');
});

test('keys destroy asks for the id of the key, and destroys nothing for another answer', async ({ site }) => {
  const uri = ['--uri', site.keys('main')];
  const first = site.generate('main');
  const second = site.generate('main');
  site.promote('main', second);
  assert.is(teapot('keys', 'retire', ...uri, first, '--unverified').code, 0);
  const destroy = ['keys', 'destroy', ...uri, first, '--grace', '0s'];
  const refused = await typing(second, ...destroy);
  assert.is(refused.code, 2, refused.shown);
  assert.match(refused.shown, `Type ${first}:`);
  assert.ok(existsSync(site.path(`keys/main/${first}.key`)));
  const destroyed = await typing(first, ...destroy);
  assert.is(destroyed.code, 0, destroyed.shown);
  assert.not(existsSync(site.path(`keys/main/${first}.key`)));
});

test('serve logs lines for people on a terminal, and JSON elsewhere', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  const running = await site.serve();
  for (const line of running.log.trim().split('\n')) assert.type(JSON.parse(line), 'object');
  // It ends by itself, because the socket is in use.
  const { code, shown } = await typing('', 'serve', '--config', site.configFile);
  assert.is(code, 1, shown);
  assert.match(shown, /^\d{4}-\d\d-\d\d [\d:.]+Z INFO {2}starting version=/m);
  assert.match(shown, /Z ERROR cannot start\r?\n {2}ERR_SOCKET_IN_USE: /);
  assert.not.match(shown, '{"level"');
});

test('log.format overrides it', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  writeFileSync(site.configFile, readFileSync(site.configFile, 'utf8').replace('level: debug', 'format: text'));
  const plugin = await site.serve();
  assert.match(plugin.log, 'Z INFO  [main] listening socket=');
});

test.run();
