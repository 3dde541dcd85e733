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
import { figure } from '../../../support/figure.ts';

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
  ['"a " \\\n', 'a '],
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
  const cloud = cloudOf([fieldsOfCloudConf(sections)], 'cloud.conf');
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

/** Each login that [Global] may hold, and the cloud that it gives. */
const documented: readonly (readonly [lines: string, made: object])[] = [
  ['user-id=U\npassword=x', { credential: 'user U' }],
  ['username=N\npassword=x', { credential: 'user N' }],
  ['token=T', { credential: 'a token', auth: { identity: { methods: ['token'], token: { id: 'T' } } } }],
  ['application-credential-id=I\napplication-credential-secret=S', { credential: 'application credential I' }],
  [
    'application-credential-name=A\napplication-credential-secret=S\nuser-id=U',
    { credential: 'application credential A' },
  ],
  ['token=T\nregion=R', { region: 'R' }],
  ['token=T\nos-endpoint-type=adminURL', { interface: 'admin' }],
  ['token=T\nca-file=/ca\ncert-file=/c\nkey-file=/k', { caFile: '/ca', certFile: '/c', keyFile: '/k' }],
  ['token=T\ntls-insecure=true', { insecure: true }],
  ['token=T\ntls-insecure=false', { insecure: false }],
];
for (const [lines, made] of documented) {
  test(`[Global] ${lines.replaceAll('\n', ', ')} is understood`, () => {
    const fields = fieldsOfCloudConf(parseIni(`[Global]\nauth-url=http://k\n${lines}\n`, 'c'));
    const cloud = cloudOf([fields], 'c');
    for (const [name, value] of Object.entries(made)) assert.equal(cloud[name as keyof typeof cloud], value, name);
  });
}

const domains: readonly (readonly [lines: string, user: object, scope: object])[] = [
  ['tenant-id=P', { id: 'default' }, { project: { id: 'P' } }],
  ['tenant-name=P\ndomain-id=D', { id: 'D' }, { project: { name: 'P', domain: { id: 'D' } } }],
  ['tenant-name=P\ndomain-name=D', { name: 'D' }, { project: { name: 'P', domain: { name: 'D' } } }],
  [
    'tenant-name=P\ntenant-domain-id=T\nuser-domain-name=U\ndomain-id=D',
    { name: 'U' },
    { project: { name: 'P', domain: { id: 'T' } } },
  ],
  [
    'tenant-name=P\ntenant-domain-name=T\nuser-domain-id=U',
    { id: 'U' },
    { project: { name: 'P', domain: { name: 'T' } } },
  ],
  ['domain-name=D', { name: 'D' }, { domain: { name: 'D' } }],
];
for (const [lines, domain, scope] of domains) {
  test(`[Global] ${lines.replaceAll('\n', ', ')} gives user and project their domains`, () => {
    const text = `[Global]\nauth-url=http://k\nusername=N\npassword=x\n${lines}\n`;
    const { auth } = cloudOf([fieldsOfCloudConf(parseIni(text, 'c'))], 'c');
    const user = { name: 'N', domain, password: 'x' };
    assert.equal(auth, { identity: { methods: ['password'], password: { user } }, scope });
  });
}

test('a trust: the trustee logs in, with the trust as the scope', () => {
  const sections = parseIni(
    '[Global]\nauth-url=http://k/v3\ntrust-id=T\ntrustee-id=U\ntrustee-password=P\nuser-id=other\npassword=x\n',
    'c',
  );
  assert.equal(cloudOf([fieldsOfCloudConf(sections)], 'c').auth, {
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

for (const [what, text] of [
  ['blanks in a header', `[a${' '.repeat(300_000)}x`],
  ['blanks within a value', `[Global]\na = ${' '.repeat(300_000)}x\n`],
  ['blanks and then an open quote', `[Global]\na = ${'x '.repeat(150_000)}"\n`],
  ['a value of many lines', `[Global]\na = ${'x\\\n'.repeat(100_000)}x\n`],
  ['a value that ends with many empty lines', `[Global]\na = x ${'\\\n'.repeat(100_000)}\n`],
  ['backslashes', `[Global]\na = ${'\\'.repeat(300_001)}\n`],
] as const) {
  // Each took minutes, or would have, with a pattern that takes quadratic time: the run's own limit would end it.
  test(`${what}: read or refused in linear time`, () => {
    const before = process.cpuUsage();
    try {
      parseIni(text, 'cloud.conf');
    } catch (error) {
      assert.instance(error, KmsError);
    }
    figure(
      `parseIni, ${what}: ${text.length} characters in ${(process.cpuUsage(before).user / 1000).toFixed(0)} ms of CPU time`,
    );
  });
}

test.run();
