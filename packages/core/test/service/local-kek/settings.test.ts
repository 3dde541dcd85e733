import { rejectsWithCode } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { localKekOptions, localKekSettings } from '../../../src/service/local-kek/settings.ts';

const settings = z.strictObject(localKekSettings);

test('with nothing set there are safe defaults, the same as the service’s own', () => {
  assert.equal(localKekOptions(settings.parse({})), {
    softAgeMs: 3_600_000,
    hardAgeMs: 86_400_000,
    cacheEntries: 10_000,
    maxPending: 1_024,
    direct: false,
  });
});

test('what is set is taken, the rest keeps its default', () => {
  const parsed = settings.parse({ localKeks: { softAge: '5m', cacheEntries: 1 }, direct: true });
  assert.equal(localKekOptions(parsed), {
    softAgeMs: 300_000,
    hardAgeMs: 86_400_000,
    cacheEntries: 1,
    maxPending: 1_024,
    direct: true,
  });
});

test('a soft age above the hard age is refused, an equal one is not', async () => {
  const error = await rejectsWithCode(
    () => localKekOptions(settings.parse({ localKeks: { softAge: '2h', hardAge: '1h' } })),
    'ERR_KMS_INVALID_URI',
  );
  assert.match(error.message, 'localKeks.softAge');
  assert.is(localKekOptions(settings.parse({ localKeks: { softAge: '1h', hardAge: '1h' } })).hardAgeMs, 3_600_000);
});

const refused: readonly (readonly [string, unknown])[] = [
  ['an age without a unit', { localKeks: { softAge: 3600 } }],
  ['an age below a second', { localKeks: { hardAge: '999ms' } }],
  ['no cache at all', { localKeks: { cacheEntries: 0 } }],
  ['a cache that no memory holds', { localKeks: { cacheEntries: 1_000_001 } }],
  ['nobody who may wait', { localKeks: { maxPending: 0 } }],
  ['a setting that there is not', { localKeks: { maxAge: '1h' } }],
  ['a direct that is no boolean', { direct: 'yes' }],
];
for (const [what, value] of refused) {
  test(`refused: ${what}`, () => {
    assert.is(settings.safeParse(value).success, false);
  });
}

test.run();
