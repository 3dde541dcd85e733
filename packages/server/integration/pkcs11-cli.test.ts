import { newKeyId } from '@teapot-kms/core';
import { Shim, SoftHsm } from '@teapot-kms/testing/daemons';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { teapot } from './support/running-plugin.ts';
import { TokenSite } from './support/token-site.ts';

const test = suite<{ site: TokenSite }>('the CLI over a PKCS#11 token');
test.before.each(async (context) => {
  context.site = await TokenSite.create();
  context.site.writeConfig([context.site.tokenInstance('hsm')]);
});
test.after.each(async ({ site }) => site.remove());

interface Listed {
  readonly primary: string;
  readonly keys: readonly { readonly id: string; readonly state: string }[];
}
const statesOf = (site: TokenSite): readonly (readonly [string, string])[] =>
  (JSON.parse(site.keysCommand('list').stdout) as Listed).keys.map(({ id, state }) => [id, state]);
const idsInToken = async (site: TokenSite): Promise<string[]> =>
  (await site.softHsm.keys()).map(({ id }) => Buffer.from(id, 'hex').toString()).sort();

interface Finding {
  readonly level: string;
  readonly text: string;
  readonly remedy?: string;
}
function doctor(site: TokenSite): { readonly code: number | null; readonly findings: Finding[]; readonly all: string } {
  const { code, stdout } = teapot('doctor', '--config', site.configFile, '--output', 'json');
  return { code, findings: JSON.parse(stdout) as Finding[], all: stdout };
}
const find = (findings: readonly Finding[], level: string, text: RegExp): Finding => {
  const found = findings.find((finding) => finding.level === level && text.test(finding.text));
  if (!found) throw new Error(`no ${level} like ${String(text)} in ${JSON.stringify(findings, null, 2)}`);
  return found;
};

/** Without a terminal, and without the week for which a retired key is kept. */
const DESTROY = ['--yes', '--grace', '0s'] as const;

test('keys are made in the token, promoted, retired and destroyed', async ({ site }) => {
  const first = site.generateInToken();
  const second = site.generateInToken();
  assert.equal(await idsInToken(site), [first, second].sort());
  for (const { sensitive, extractable } of await site.softHsm.keys())
    assert.equal([sensitive, extractable], [true, false]);
  assert.equal(statesOf(site), [
    [first, 'promoted'],
    [second, 'pending'],
  ]);
  assert.is(site.keysCommand('promote', second).code, 2, 'evidence is asked for');
  for (const [command, ...args] of [
    ['promote', second, '--unverified'],
    ['retire', first, '--unverified'],
    ['restore', first],
    ['retire', first, '--unverified'],
  ] as const) {
    assert.is(site.keysCommand(command, ...args).code, 0, command);
  }
  assert.is(site.keysCommand('destroy', second, ...DESTROY).code, 1, 'the primary is not destroyed');
  assert.is(site.keysCommand('destroy', first, ...DESTROY).code, 0);
  assert.equal(statesOf(site), [[second, 'promoted']]);
  assert.equal(await idsInToken(site), [second]);
});

test('a dry run changes neither the token nor the keyset', async ({ site }) => {
  assert.is(site.keysCommand('generate', '--dry-run').code, 0);
  assert.not(existsSync(site.path('keyset/keyset.yaml')));
  assert.equal(await idsInToken(site), []);

  const first = site.generateInToken();
  const second = site.generateInToken();
  const before = readFileSync(site.path('keyset/keyset.yaml'), 'utf8');
  assert.is(site.keysCommand('generate', '--dry-run').code, 0);
  assert.is(site.keysCommand('promote', second, '--unverified', '--dry-run').code, 0);
  assert.is(site.keysCommand('retire', second, '--unverified', '--dry-run').code, 0);
  assert.is(site.keysCommand('destroy', first, ...DESTROY, '--dry-run').code, 1, 'it also says what may not be done');
  assert.is(site.keysCommand('retire', second, '--unverified').code, 0);
  assert.is(site.keysCommand('destroy', second, ...DESTROY, '--dry-run').code, 0);
  assert.equal(await idsInToken(site), [first, second].sort());
  assert.is(before.includes('retired'), false);
  assert.equal(statesOf(site), [
    [first, 'promoted'],
    [second, 'retired'],
  ]);
});

test('doctor shows module, token, login, mechanism and latency of a good token', async ({ site }) => {
  const id = site.generateInToken();
  await site.serve([], 'the key store answers');
  const { code, findings } = doctor(site);
  assert.is(code, 0, JSON.stringify(findings));
  find(findings, 'ok', /^the module works; token "teapot", SoftHSM project /);
  find(findings, 'ok', /^the PIN was accepted$/);
  find(findings, 'ok', new RegExp(`^key ${id}, the primary: aes-gcm, wraps in [\\d.]+ ms, unwraps in [\\d.]+ ms$`));
  find(findings, 'ok', /^Status, Encrypt and Decrypt work/);
});

test('doctor says where there is no module', ({ site }) => {
  site.generateInToken();
  const module = site.path('no-such-module.so');
  site.writeConfig([site.tokenInstance('hsm', { uri: site.uri({ module }) })]);
  const { code, findings } = doctor(site);
  assert.is(code, 3);
  assert.match(find(findings, 'problem', /no PKCS#11 module at /).text, module);
});

test('doctor says that there is no keyset yet, and what to run', ({ site }) => {
  const { code, findings } = doctor(site);
  assert.is(code, 3);
  const { text, remedy } = find(findings, 'problem', /keyset\.yaml: no such file/);
  assert.match(text, site.path('keyset'));
  assert.match(remedy ?? '', 'teapot-kms keys generate');
});

test('doctor and serve with a wrong PIN try it once between them, and doctor says what to do', async ({ site }) => {
  site.generateInToken();
  site.shim.resetCounters();
  site.writeConfig([site.tokenInstance('hsm', { uri: site.uri({ pinFile: site.wrongPinFile() }) })]);
  await site.serve([], 'refused the PIN');
  const { code, findings } = doctor(site);
  assert.is(code, 3);
  const { text } = find(findings, 'problem', /refused the PIN/);
  assert.match(text, 'not tried again until it changes at its source');
  assert.ok(
    findings.some(({ remedy }) => remedy?.includes(`remove ${site.path('state')}`)),
    'doctor names the record',
  );
  doctor(site);
  assert.is(site.shim.calls('C_Login'), 1);
});

test('doctor hints at a key that can be got out of the token, and at one in no keyset', async ({ site }) => {
  const first = site.generateInToken();
  const label = 'kek';
  const [listed, unlisted] = [newKeyId(), newKeyId()];
  for (const keyId of [listed, unlisted]) {
    const id = Buffer.from(keyId).toString('hex');
    await site.softHsm.importAesKey({ id, label, value: randomBytes(32), extractable: true });
  }
  const file = site.path('keyset/keyset.yaml');
  const manifest = readFileSync(file, 'utf8');
  const entry = manifest.slice(manifest.indexOf('  - id: ')).replace(first, listed).replace('promoted', 'pending');
  writeFileSync(file, manifest + entry);
  const { findings } = doctor(site);
  const { remedy } = find(findings, 'hint', new RegExp(`^key ${listed}: CKA_EXTRACTABLE is true`));
  assert.match(remedy ?? '', 'keys generate');
  find(
    findings,
    'hint',
    new RegExp(`^key ${unlisted} with label "kek" is in the token, and this keyset does not list it$`),
  );
  assert.not(findings.some(({ level, text }) => level === 'hint' && text.startsWith(`key ${first}`)));
});

/** The line of `uri` in what {@link TokenSite.tokenInstance} makes. */
const URI_LINE = 10;
const PIN = 'a-pin-in-the-clear';

for (const { what, change, expected } of [
  {
    what: 'a PIN in the URI, without showing it',
    change: (uri: string) => uri.replace(/pin-source=.*/, `pin-value=${PIN}`),
    expected: 'pin-value is refused',
  },
  {
    what: 'an attribute that is not known',
    change: (uri: string) => uri.replace('?', ';colour=red?'),
    expected: 'expected one of token, manufacturer, serial, model, slot-id, object, id, type in the path, found colour',
  },
  {
    what: 'a URI without pin-source',
    change: (uri: string) => uri.replace(/&pin-source=.*/, ''),
    expected: 'found no pin-source',
  },
]) {
  test(`config validate refuses ${what}, with file and line`, ({ site }) => {
    site.writeConfig([site.tokenInstance('hsm', { uri: change(site.uri()) })]);
    const { code, stdout, stderr } = teapot('config', 'validate', '--config', site.configFile);
    assert.is(code, 2);
    assert.match(stderr, `${site.configFile}:${URI_LINE}: instances[0].keys.uri: `);
    assert.match(stderr, expected);
    assert.not.match(stdout + stderr, PIN);
  });
}

test('config validate refuses a soft age above the hard age, with file and line', ({ site }) => {
  site.writeConfig([site.tokenInstance('hsm', { keys: { localKeks: { softAge: '2h', hardAge: '1h' } } })]);
  const { code, stderr } = teapot('config', 'validate', '--config', site.configFile);
  assert.is(code, 2);
  assert.match(stderr, /config\.yaml:\d+: instances\[0\]\.keys/);
  assert.match(stderr, /expected a localKeks\.softAge that is not \w+ than localKeks\.hardAge/);
});

const missing = SoftHsm.missing() ?? Shim.missing();
if (missing !== undefined) console.log(`SKIPPED the CLI over a PKCS#11 token: ${missing}`);
else test.run();
