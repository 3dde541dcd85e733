import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { eventually, teapot, TestSite } from './support/running-plugin.ts';

const test = suite<{ site: TestSite }>('cli');
test.before.each((context) => {
  context.site = new TestSite();
});
test.after.each(async ({ site }) => site.remove());

interface Listed {
  primary: string;
  keys: { id: string; state: string }[];
}
const list = (site: TestSite, name = 'main'): Listed =>
  JSON.parse(teapot('keys', 'list', '--uri', site.keys(name), '--output', 'json').stdout) as Listed;

test('--help shows the way in, the way out and the exit codes', () => {
  const { code, stdout } = teapot('--help');
  assert.is(code, 0);
  for (const text of ['keys generate', 'serve', 'doctor', 'Exit codes:']) assert.match(stdout, text);
});

for (const command of [
  'serve',
  'keys',
  'status',
  'config',
  'doctor',
  'inspect',
  'scan',
  'rotate',
  'setup',
  'barbican-kms-plugin',
  'completion',
]) {
  test(`${command} --help explains itself`, () => {
    const { code, stdout } = teapot(command, '--help');
    assert.is(code, 0);
    assert.ok(stdout.length > 200, stdout);
  });
}

test('an unknown command and a missing option exit with 2', () => {
  assert.is(teapot('frobnicate').code, 2);
  assert.is(teapot('serve').code, 2);
  assert.is(teapot('keys', 'list').code, 2);
});

test('an unknown key store exits with 2 and names those that there are', () => {
  const { code, stderr } = teapot('keys', 'list', '--uri', 'ftp:/x');
  assert.is(code, 2);
  assert.match(stderr, 'known schemes: file:');
});

test('a key store that needs more than a URI exits with 2 and says what, and how to give it', () => {
  const uri = 'pkcs11:token=t;object=kek?module-name=m&pin-source=file:/run/pin';
  const { code, stderr } = teapot('keys', 'list', '--uri', uri);
  assert.is(code, 2);
  assert.match(stderr, 'a pkcs11: key store needs settings; use --config FILE [--instance NAME]');
});

test('--cloud-config is for Barbican only, and a Barbican without a login says what is missing', () => {
  const { code, stderr } = teapot('keys', 'list', '--uri', 'file:/x', '--cloud-config', '/etc/cloud.conf');
  assert.is(code, 2);
  assert.match(stderr, '--cloud-config does not apply to file: keys');
  const none = teapot('keys', 'list', '--uri', 'barbican:production', '--cloud-config', '/nowhere/cloud.conf');
  assert.is(none.code, 1);
  assert.match(none.stderr, '/nowhere/cloud.conf: no such file (ERR_KMS_STORE_UNAVAILABLE)');
});

test("barbican-kms-plugin demands that plugin's flags, and says what is wrong with them", () => {
  assert.is(teapot('barbican-kms-plugin', '--socketpath', '/run/kms.sock').code, 2);
  const flags = ['--cloud-config', '/etc/cloud.conf', '--v=4', '--vmodule=x=1', '--log-flush-frequency=5s'];
  const { code, stderr } = teapot('barbican-kms-plugin', '--socketpath', 'kms.sock', ...flags);
  assert.is(code, 2);
  assert.match(stderr, '(flags):1: instances[0].socket: expected an absolute path');
});

test('keys go from pending to primary to decrypt-only to retired to destroyed', ({ site }) => {
  const uri = ['--uri', site.keys('main')];
  const first = site.generate('main');
  const second = site.generate('main');
  assert.equal(
    list(site).keys.map(({ state }) => state),
    ['promoted', 'pending'],
  );
  const early = teapot('keys', 'promote', ...uri, second);
  assert.is(early.code, 2);
  assert.match(early.stderr, 'expected --replicas NUMBER with a report of each');
  assert.is(teapot('keys', 'promote', ...uri, second, '--unverified').code, 0);
  assert.is(list(site).primary, second);
  assert.is(teapot('keys', 'promote', ...uri, first, '--unverified').code, 1, 'a former primary never comes back');
  const unverified = (command: string, id: string) => teapot('keys', command, ...uri, id, '--unverified').code;
  const destroy = (id: string, ...more: string[]) => teapot('keys', 'destroy', ...uri, id, ...more);
  assert.is(teapot('keys', 'retire', ...uri, first).code, 2, 'nothing shows that no object needs the key');
  assert.is(unverified('retire', second), 1, 'the primary cannot be retired');
  assert.is(destroy(first, '--yes', '--grace', '0s').code, 1, 'only a retired key can be destroyed');
  assert.is(unverified('retire', first), 0);
  assert.is(teapot('keys', 'restore', ...uri, first).code, 0);
  assert.is(unverified('retire', first), 0);
  const tooEarly = destroy(first, '--yes');
  assert.is(tooEarly.code, 1);
  assert.match(tooEarly.stderr, `Fix: wait until `);
  assert.is(destroy(first, '--grace', '0s').code, 2, 'nobody types the id');
  assert.is(destroy(first, '--yes', '--grace', 'soon').code, 2);
  assert.is(destroy(first, '--yes', '--grace', '0s').code, 0);
  assert.equal(
    list(site).keys.map(({ id }) => id),
    [second],
  );
});

test('a mistyped path does not become a keyset, and the error says what to do', ({ site }) => {
  const { code, stderr } = teapot('keys', 'generate', '--uri', `file:${site.path('no', 'such', 'keys')}`);
  assert.is(code, 2);
  assert.match(stderr, `${site.path('no', 'such')} does not exist; correct the path, or pass --create-parents`);
  const nowhere = teapot('keys', 'generate', '--uri', 'file:/proc/keys');
  assert.is(nowhere.code, 1, 'it ends');
});

test('the root directory of the host does not become a keyset', () => {
  const { code, stderr } = teapot('keys', 'generate', '--uri', 'file:/', '--create-parents');
  assert.is(code, 2);
  assert.match(stderr, '/ is the root directory of this host');
});

test('no new keyset is made beside the keys of one whose manifest is lost', ({ site }) => {
  const id = site.generate('main');
  rmSync(site.path('keys/main/keyset.yaml'));
  const { code, stderr } = teapot('keys', 'generate', '--uri', site.keys('main'));
  assert.is(code, 1);
  assert.match(stderr, site.path(`keys/main/${id}.key`));
  assert.match(
    stderr,
    'restore the manifest of these keys from another node, or from the backup: teapot-kms keys import',
  );
  assert.equal(readdirSync(site.path('keys/main')), [`${id}.key`]);
});

test('what root makes belongs to the owner of the directory', ({ site }) => {
  assert.is(process.getuid?.(), 0, 'the tests run as root');
  mkdirSync(site.path('keys'));
  chownSync(site.path('keys'), 12_345, 23_456);
  const id = site.generate('main');
  for (const path of ['keys/main', 'keys/main/keyset.yaml', `keys/main/${id}.key`]) {
    const { uid, gid } = statSync(site.path(path));
    assert.equal([uid, gid], [12_345, 23_456], path);
  }
});

test('--owner says whom the keyset and what is above it belong to', ({ site }) => {
  const generate = (...args: string[]) => teapot('keys', 'generate', '--uri', site.keys('owned'), ...args);
  const made = generate('--create-parents', '--owner', '12345:23456');
  assert.is(made.code, 0, made.stderr);
  for (const name of ['.', ...readdirSync(site.path('keys/owned'))]) {
    const { uid, gid } = statSync(site.path('keys/owned', name));
    assert.equal([uid, gid], [12_345, 23_456], name);
  }
  const other = generate('--owner', '1:1');
  assert.is(other.code, 2);
  assert.match(other.stderr, 'belongs to user 12345');
});

test('a dry run says what would happen and changes nothing', ({ site }) => {
  const uri = ['--uri', site.keys('main')];
  const first = site.generate('main');
  const before = readFileSync(site.path('keys/main/keyset.yaml'), 'utf8');
  const dry = teapot('keys', 'generate', ...uri, '--dry-run');
  assert.match(dry.stdout, 'dry run, nothing is changed');
  assert.match(dry.stdout, /^\(new\) +pending +0 s ago$/m, 'the id of the real key will be another one');
  assert.is(
    teapot('keys', 'retire', ...uri, first, '--unverified', '--dry-run').code,
    1,
    'it also says what may not be done',
  );
  assert.is(readFileSync(site.path('keys/main/keyset.yaml'), 'utf8'), before);
});

test('config validate exits with 2 and prints FILE:LINE: PATH: expected, found', ({ site }) => {
  site.writeConfig([site.instance('main', 'colour: red')]);
  const { code, stderr } = teapot('config', 'validate', '--config', site.configFile);
  assert.is(code, 2);
  assert.match(stderr, `${site.configFile}:11: instances[0].colour: unknown setting`);
  site.writeConfig([site.instance('main')]);
  assert.match(teapot('config', 'validate', '--config', site.configFile).stdout, 'valid, 1 instance');
});

test('serve with a wrong or missing configuration exits with 2', ({ site }) => {
  assert.is(teapot('serve', '--config', site.configFile).code, 2);
  site.writeConfig([]);
  assert.is(teapot('serve', '--config', site.configFile).code, 2);
});

test('config schema is JSON Schema with the key stores in it', () => {
  const schema = JSON.parse(teapot('config', 'schema').stdout) as { $schema: string };
  assert.match(schema.$schema, 'json-schema.org');
  assert.match(JSON.stringify(schema), 'allowGroupRead');
});

test('config encryption-configuration gives both API versions their own provider', ({ site }) => {
  site.writeConfig([site.instance('main')]);
  const make = (...args: string[]) =>
    teapot('config', 'encryption-configuration', '--config', site.configFile, ...args).stdout;
  assert.match(make(), `endpoint: unix://${site.socket('main')}`);
  assert.match(make(), 'name: teapot-main\n');
  const v1 = make('--kms-version', 'v1', '--resource', 'secrets', 'configmaps');
  assert.match(v1, 'name: teapot-main-v1\n');
  assert.match(v1, '- configmaps');
  assert.match(v1, 'cachesize: 10000');
});

for (const [option, ...given] of [
  ['--output', 'yaml', 'keys', 'list', '--uri', 'file:/x'],
  ['--output', 'yaml', 'keys', 'generate', '--uri', 'file:/x'],
  ['--output', 'yaml', 'status', '--socket', '/x'],
  ['--output', 'yaml', 'doctor', '--config', '/x'],
  ['--nonce', 'abc', 'status', '--report', '--socket', '/x'],
  ['--kms-version', 'v3', 'config', 'encryption-configuration', '--config', '/x'],
  ['--kms-version', '2', 'config', 'encryption-configuration', '--config', '/x'],
  ['--resource', 'secrets,configmaps', 'config', 'encryption-configuration', '--config', '/x'],
] as const) {
  const [value, ...command] = given;
  test(`${command.slice(0, 2).join(' ')} ${option} ${value} exits with 2 and names the option`, () => {
    const { code, stderr } = teapot(...command, option, value);
    assert.is(code, 2);
    assert.match(stderr, option);
    assert.match(stderr, value);
  });
}

test('of two options that exclude each other, neither wins in silence', () => {
  for (const command of [
    ['keys', 'generate', '--uri', 'file:/x', '--config', '/x'],
    ['status', '--socket', '/x', '--instance', 'x'],
    ['keys', 'import', '/x', '--uri', 'file:/x', '--identity', '/x', '--passphrase-file', '/x'],
    ['keys', 'export', '--uri', 'file:/x', '--out', '/x', '--passphrase', '--passphrase-file', '/x'],
  ]) {
    const { code, stderr } = teapot(...command);
    assert.is(code, 2);
    assert.match(stderr, 'cannot be used with option');
  }
});

test('with several instances the command asks which', ({ site }) => {
  site.writeConfig([site.instance('a'), site.instance('b')]);
  const { code, stderr } = teapot('config', 'encryption-configuration', '--config', site.configFile);
  assert.is(code, 2);
  assert.match(stderr, 'there are: a, b');
});

test('status of a plugin that does not run exits with 3 and says what kube-apiserver would do', ({ site }) => {
  const { code, stdout } = teapot('status', '--socket', site.path('none.sock'));
  assert.is(code, 3);
  assert.match(stdout, 'writes fail 3 minutes after');
  const report = teapot('status', '--report', '--socket', site.path('none.sock'));
  assert.is(report.code, 3);
  assert.match(report.stderr, /^no report from .*none\.sock: [^\n]*ENOENT[^\n]*\n$/);
});

test('status of a good plugin exits with 0 and shows keys and hash', async ({ site }) => {
  const id = site.generate('main');
  site.writeConfig([site.instance('main')]);
  await site.serve([], 'key loaded');
  const { code, stdout } = teapot('status', '--config', site.configFile);
  assert.is(code, 0);
  assert.is(teapot('status', '--socket', `unix://${site.socket('main')}`).code, 0);
  assert.match(stdout, `key_id   ${id}`);
  assert.match(stdout, 'kube-apiserver accepts this answer');
});

test('doctor finds what is wrong before the start, and says what to do in order', ({ site }) => {
  const id = site.generate('readable');
  chmodSync(site.path(`keys/readable/${id}.key`), 0o644);
  site.writeConfig([site.instance('missing'), site.instance('readable')]);
  const { code, stdout } = teapot('doctor', '--config', site.configFile);
  assert.is(code, 3);
  const steps = stdout.slice(stdout.indexOf('What to do, in this order:'));
  assert.match(
    steps,
    `Only if this cluster has never had encrypted data: teapot-kms keys generate --uri ${site.keys('missing')}`,
  );
  assert.match(steps, `chmod 0600 ${site.path(`keys/readable/${id}.key`)}`);
  assert.match(steps, 'start the plugin');
  assert.ok(steps.indexOf('keys generate') < steps.indexOf('start the plugin'));
});

test('doctor names a key that a killed writer has left behind', ({ site }) => {
  site.generate('main');
  const left = site.path('keys/main/.abc.key.0123456789ab.tmp');
  writeFileSync(left, Buffer.alloc(32), { mode: 0o600 });
  site.writeConfig([site.instance('main')]);
  assert.match(teapot('doctor', '--config', site.configFile).stdout, `${left} is a key that no manifest lists`);
});

test('doctor warns of a directory in which everyone may replace the socket', ({ site }) => {
  site.generate('main');
  mkdirSync(site.path('run/main'), { recursive: true });
  chmodSync(site.path('run/main'), 0o777);
  site.writeConfig([site.instance('main')]);
  assert.match(teapot('doctor', '--config', site.configFile).stdout, `chmod go-w ${site.path('run/main')}`);
});

test('doctor finds nothing wrong with a good plugin', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  await site.serve([], 'key loaded');
  const result = await eventually(() => teapot('doctor', '--config', site.configFile, '--output', 'json'));
  assert.is(result.code, 0, result.stdout);
  const findings = JSON.parse(result.stdout) as { level: string; text: string }[];
  assert.ok(findings.some(({ text }) => text.startsWith('Status, Encrypt and Decrypt work')));
});

test('doctor reads the core limit of the plugin, not its own', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  const plugin = await site.serve([], 'key loaded');
  const { stdout } = teapot('doctor', '--config', site.configFile);
  assert.match(stdout, `[ ok ] core dumps: are off in the plugin (process ${String(plugin.process.pid)})`);
});

test('a plugin whose environment turns TLS off says that it checks certificates all the same', async ({ site }) => {
  site.generate('main');
  site.writeConfig([site.instance('main')]);
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  try {
    await site.serve([], 'NODE_TLS_REJECT_UNAUTHORIZED=0 is ignored');
  } finally {
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  }
});

test('no command prints a key', ({ site }) => {
  const id = site.generate('main');
  const key = readFileSync(site.path(`keys/main/${id}.key`));
  writeFileSync(site.path(`keys/main/${id}.key`), Buffer.concat([key, key]));
  site.writeConfig([site.instance('main')]);
  const { stdout, stderr } = teapot('doctor', '--config', site.configFile);
  assert.match(stdout, 'expected exactly 32 raw bytes, found 64');
  for (const form of ['hex', 'base64', 'latin1'] as const) {
    assert.not.ok((stdout + stderr).includes(key.toString(form)));
  }
});

test.run();
