import { rejectsWithCode } from '@teapot-kms/testing';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../../../src/errors.ts';
import { cloudOf } from '../../../../src/stores/barbican/keystone/cloud.ts';
import { fieldsOfCloudsYaml } from '../../../../src/stores/barbican/keystone/clouds-yaml.ts';

const text = `clouds:
  mine:
    auth_type: v3applicationcredential
    auth:
      auth_url: https://keystone.example:5000
      application_credential_id: 0123
    region_name: RegionOne
    interface: internal
    verify: no
    cacert: /etc/ca.pem
  other:
    auth: &other
      auth_url: http://k
      username: u
      password: 007
      project_name: p
      user_domain_name: Users
      project_domain_id: projects
  third:
    auth: { <<: *other, password: third }
`;
const secure = 'clouds: { mine: { auth: { application_credential_secret: s3cret } } }';

test('secure.yaml adds the secret, and scalars are what is written', () => {
  const fields = fieldsOfCloudsYaml(text, secure, 'mine', 'clouds.yaml');
  const cloud = cloudOf([fields], 'clouds.yaml');
  assert.is(cloud.insecure, true);
  assert.is(cloud.authUrl, 'https://keystone.example:5000/v3');
  assert.equal(cloud.auth, {
    identity: { methods: ['application_credential'], application_credential: { id: '0123', secret: 's3cret' } },
  });
});

test('user and project may be in different domains, and a password of digits keeps its zeros', () => {
  assert.equal(cloudOf([fieldsOfCloudsYaml(text, undefined, 'other', 'c')], 'c').auth, {
    identity: { methods: ['password'], password: { user: { name: 'u', domain: { name: 'Users' }, password: '007' } } },
    scope: { project: { name: 'p', domain: { id: 'projects' } } },
  });
});

test('anchors and merges work', () => {
  const fields = fieldsOfCloudsYaml(text, undefined, 'third', 'c');
  assert.equal([fields('username'), fields('password')], ['u', 'third']);
});

test('without a name the only cloud is meant, and with several the error names them', async () => {
  const one = 'clouds: { a: { auth: { auth_url: http://k } } }';
  assert.is(fieldsOfCloudsYaml(one, undefined, undefined, 'c')('auth_url'), 'http://k');
  const error = await rejectsWithCode(
    () => fieldsOfCloudsYaml(text, undefined, undefined, 'c'),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(error.message, 'mine, other, third');
  await rejectsWithCode(() => fieldsOfCloudsYaml(text, undefined, 'none', 'c'), 'ERR_KMS_STORE_UNAVAILABLE');
});

test('what is no YAML is refused with its line and without what stands there', async () => {
  const error = await rejectsWithCode(
    () => fieldsOfCloudsYaml('clouds:\n  a: [hunter2\n', undefined, 'a', '/etc/clouds.yaml'),
    'ERR_KMS_STORE_UNAVAILABLE',
  );
  assert.match(error.message, /^\/etc\/clouds\.yaml:\d: not YAML$/);
});

test('arbitrary text is fields or an error of ours', () => {
  const snippets = ['clouds:', '\n', '  ', 'a:', ' {', '}', '&a', '*a', '<<:', '- ', 'auth: 1', 'auth: {auth_url: x}'];
  const any = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(fc.constantFrom(...snippets), { maxLength: 12 }).map((all) => all.join('')),
  );
  fc.assert(
    fc.property(any, (one) => {
      try {
        fieldsOfCloudsYaml(one, one, undefined, 'c');
      } catch (error) {
        assert.instance(error, KmsError);
      }
    }),
    { numRuns: 1_000 },
  );
});

test.run();
