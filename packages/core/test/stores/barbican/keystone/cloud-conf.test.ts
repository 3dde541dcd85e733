import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../../src/errors.ts';
import { cloudOf } from '../../../../src/stores/barbican/keystone/cloud.ts';
import {
  cloudsOfCloudConf,
  fieldsOfCloudConf,
  legacyKeyOfCloudConf,
  parseIni,
} from '../../../../src/stores/barbican/keystone/cloud-conf.ts';
import type { CloudFields } from '../../../../src/stores/barbican/keystone/fields.ts';

const value = (text: string) => parseIni(`[Global]\npassword = ${text}\n`, 'cloud.conf').get('global')?.get('password');

for (const [written, meant] of [
  ['secret', 'secret'],
  ['"with # and ; in it"', 'with # and ; in it'],
  ['plain # a comment', 'plain'],
  ['plain ; a comment', 'plain'],
  ['a "b  " c', 'a b   c'],
  ['"trailing "', 'trailing '],
  ['  padded  ', 'padded'],
  [String.raw`"a\"b\\c\td"`, 'a"b\\c\td'],
  ['one\\\ntwo', 'onetwo'],
  ['""', ''],
  ['', ''],
  ['p=ss=', 'p=ss='],
] as const) {
  test(`${JSON.stringify(written)} means ${JSON.stringify(meant)}, as gcfg reads it`, () => {
    assert.is(value(written), meant);
  });
}

test('sections and variables have no case, a later one of the same name wins, a name alone is true', () => {
  const sections = parseIni('; c\n[GLOBAL]\nAuth-URL=a\nauth-url=b\nuse-clouds\n[BlockStorage] # c\nx=1\n', 'c');
  assert.is(sections.get('global')?.get('auth-url'), 'b');
  assert.equal(cloudsOfCloudConf(sections), {});
});

for (const [what, text, line] of [
  ['a variable before any section', 'a=b\n', 1],
  ['a quote that is not closed', '[Global]\n\npassword="hunter2\n', 3],
  ['an unknown escape', '[Global]\npassword=hunter2\\x\n', 2],
  ['no variable at all', '[Global]\n= hunter2\n', 2],
] as const) {
  test(`${what} is refused with its line and without what stands there`, async () => {
    const error = await rejectsWithCode(() => parseIni(text, '/etc/cloud.conf'), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.match(error.message, `/etc/cloud.conf:${String(line)}: `);
    assert.not.match(error.message, 'hunter2');
  });
}

test("barbican-kms-plugin's file is read as it is: login, key-id, and what is other programs'", () => {
  const sections = parseIni(
    `[Global]
auth-url = "https://keystone.example:5000/v3/"
username = kms
password = "p#1"
tenant-name = kubernetes
domain-id = default
region = RegionOne
os-endpoint-type = internalURL
ca-file = /etc/ca.pem
[LoadBalancer]
use-octavia=true
[KeyManager]
key-id = 72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11
`,
    'cloud.conf',
  );
  assert.is(legacyKeyOfCloudConf(sections), '72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11');
  const cloud = cloudOf(fieldsOfCloudConf(sections), 'cloud.conf');
  assert.is(cloud.authUrl, 'https://keystone.example:5000/v3');
  assert.is(cloud.interface, 'internal');
  assert.equal(cloud.auth, {
    identity: {
      methods: ['password'],
      password: { user: { name: 'kms', domain: { id: 'default' }, password: 'p#1' } },
    },
    scope: { project: { name: 'kubernetes', domain: { id: 'default' } } },
  });
});

const documented: readonly (readonly [name: string, field: keyof CloudFields])[] = [
  ['auth-url', 'authUrl'],
  ['user-id', 'userId'],
  ['username', 'username'],
  ['password', 'password'],
  ['tenant-id', 'projectId'],
  ['tenant-name', 'projectName'],
  ['domain-id', 'domainId'],
  ['domain-name', 'domainName'],
  ['tenant-domain-id', 'projectDomainId'],
  ['tenant-domain-name', 'projectDomainName'],
  ['user-domain-id', 'userDomainId'],
  ['user-domain-name', 'userDomainName'],
  ['trust-id', 'trustId'],
  ['region', 'region'],
  ['os-endpoint-type', 'interface'],
  ['ca-file', 'caFile'],
  ['cert-file', 'certFile'],
  ['key-file', 'keyFile'],
  ['token', 'token'],
  ['application-credential-id', 'applicationCredentialId'],
  ['application-credential-name', 'applicationCredentialName'],
  ['application-credential-secret', 'applicationCredentialSecret'],
];
test('each variable of [Global] that is about logging in is taken', () => {
  for (const [name, field] of documented) {
    const fields = fieldsOfCloudConf(parseIni(`[Global]\n${name} = x\n`, 'c'));
    const given = Object.entries(fields).filter(([, found]) => found !== undefined);
    assert.equal(given, [[field, 'x']], name);
  }
  assert.is(fieldsOfCloudConf(parseIni('[Global]\ntls-insecure = true\n', 'c')).insecure, true);
  assert.is(fieldsOfCloudConf(parseIni('[Global]\ntls-insecure = false\n', 'c')).insecure, false);
});

test('a trust: the trustee logs in, with the trust as the scope', () => {
  const sections = parseIni(
    '[Global]\nauth-url=http://k/v3\ntrust-id=T\ntrustee-id=U\ntrustee-password=P\nuser-id=other\npassword=x\n',
    'c',
  );
  assert.equal(cloudOf(fieldsOfCloudConf(sections), 'c').auth, {
    identity: { methods: ['password'], password: { user: { id: 'U', password: 'P' } } },
    scope: { 'OS-TRUST:trust': { id: 'T' } },
  });
});

test('any value that is quoted and escaped comes back', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((one) => !/[\r\n]/.test(one));
  fc.assert(
    fc.property(text, (one) => {
      assert.is(value(`"${one.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`), one);
    }),
  );
});

test('arbitrary text is sections or an error of ours', () => {
  const snippets = ['[Global]', '\n', '=', '"', '\\', '#', ';', 'a', ' ', '[x "y"]', '\r\n'];
  const any = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(fc.constantFrom(...snippets)).map((all) => all.join('')),
  );
  fc.assert(
    fc.property(any, (text) => {
      try {
        parseIni(text, 'c');
      } catch (error) {
        assert.instance(error, KmsError);
      }
    }),
    { numRuns: 2_000 },
  );
});

test.run();
