import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { barbicanProvider } from '../../../src/stores/barbican/index.ts';
import { manifestPlaceOf } from '../../../src/stores/barbican/settings.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';

for (const [uri, place] of [
  ['barbican:/var/lib/teapot-kms/keys', { directory: '/var/lib/teapot-kms/keys' }],
  ['barbican:///var/lib/keys', { directory: '/var/lib/keys' }],
  ['barbican:production', { name: 'production' }],
  ['barbican:a', { name: 'a' }],
] as const) {
  test(`${uri} says where the manifest is`, () => assert.equal(manifestPlaceOf(uri), place));
}

for (const uri of [
  'barbican:',
  'barbican:./keys',
  'barbican://host/keys',
  'barbican:Upper',
  'barbican:a b',
  'barbican:/k?x',
]) {
  test(`${uri} is refused`, async () => {
    await rejectsWithCode(() => manifestPlaceOf(uri), 'ERR_KMS_INVALID_URI');
  });
}

test('two ways to log in at once are refused', async () => {
  const settings = barbicanProvider.settings.parse({ cloudConfig: '/etc/cloud.conf', cloud: { name: 'x' } });
  await rejectsWithCode(() => barbicanProvider.check('barbican:x', settings), 'ERR_KMS_INVALID_URI');
});

test('instances that log in in the same way share one session, and the last one closes it', async () => {
  const shared = new SharedResources();
  const open = (uri: string, cloudConfig: string) =>
    barbicanProvider.open(uri, barbicanProvider.settings.parse({ cloudConfig }), shared);
  const sources = [
    open('barbican:a', '/etc/a.conf'),
    open('barbican:b', '/etc/a.conf'),
    open('barbican:c', '/etc/c.conf'),
  ];
  assert.is(shared.size, 2);
  for (const source of sources) await source.close!();
  assert.is(shared.size, 0);
});

test('the removed inline login is refused, and the error says what to write instead', () => {
  const auth = { authUrl: 'http://k', username: 'u', passwordFile: '/p' };
  const { error } = barbicanProvider.settings.safeParse({ auth });
  assert.equal(error?.issues[0]?.path, ['auth']);
  assert.match(error?.issues[0]?.message ?? '', 'cloud: { name: NAME, file: /path/to/clouds.yaml }');
});

test.run();
