import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { errorBody, parseTime } from '../../../../src/stores/barbican/keystone/answers.ts';

const answer = (status: number, body: string, type = 'application/json') => ({
  status,
  headers: { 'content-type': type },
  body: Buffer.from(body),
});

const bodies: [what: string, given: ReturnType<typeof answer>, text: string, own: boolean][] = [
  ['Keystone', answer(401, '{"error":{"code":401,"message":"no","title":"Unauthorized"}}'), 'no', true],
  [
    'Barbican',
    answer(404, '{"code":404,"title":"Not Found","description":"Secret not found."}'),
    'Secret not found.',
    true,
  ],
  ['a code that is not the status', answer(404, '{"code":500,"description":"x"}'), 'x', false],
  [
    'plain text',
    answer(503, 'The Keystone service\nis unavailable.', 'text/plain'),
    'The Keystone service is unavailable.',
    false,
  ],
  ['HTML', answer(500, '<html><head><title>Bad Gateway</title></head></html>', 'text/html'), 'Bad Gateway', false],
  ['nothing', answer(502, ''), '', false],
  ['JSON of another form', answer(404, '[1]'), '', false],
];
for (const [what, given, text, own] of bodies) {
  test(`an error of ${what} is understood`, () => assert.equal(errorBody(given), { text, own }));
}

test('a token that an answer repeats is left out, ids are not', () => {
  const [token, id] = [`gAAAAA${'Bc-_3'.repeat(34)}==`, '72a66c8e-1f5c-4b1a-9a3c-0f7d1f2b9c11'];
  const { text } = errorBody(answer(404, JSON.stringify({ error: { message: `no token ${token} for ${id}` } })));
  assert.is(text, `no token [...]== for ${id}`);
});

for (const [what, body] of [
  ['JSON', JSON.stringify({ error: { code: 401, message: 'no: hun"ter2' } })],
  ['HTML', '<html><title>no: hun&quot;ter2</title></html>'],
  ['plain text', 'no: hun"ter2'],
] as const) {
  test(`a short password that ${what} repeats is left out`, () => {
    assert.match(errorBody({ ...answer(401, body, 'text/x'), secrets: ['hun"ter2'] }).text, /^no: \*+$/);
  });
}

test('an arbitrary body becomes one short line', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.integer(), (body, status) => {
      const { text } = errorBody({ status, headers: {}, body: Buffer.from(body) });
      assert.ok(text.length <= 200 && text.isWellFormed() && !/\p{C}/u.test(text));
    }),
  );
});

test('times are UTC, with or without a zone', () => {
  const expected = Date.UTC(2026, 10, 24, 3, 33, 15);
  assert.is(parseTime('2026-11-24T03:33:15.000000Z'), expected);
  assert.is(parseTime('2026-11-24T03:33:15'), expected);
  assert.is(parseTime('2026-11-24T03:33:15.123456'), expected + 123);
  assert.is(parseTime('2026-11-24T04:33:15+01:00'), expected);
  assert.ok(Number.isNaN(parseTime('yesterday')));
  assert.ok(Number.isNaN(parseTime(undefined)));
});

test('an error of more than 64 KiB is not parsed, and of a long text no more than the beginning is looked at', () => {
  const long = { code: 404, title: 'x', description: 'no', more: 'y'.repeat(64 * 1024) };
  assert.is(errorBody({ status: 404, headers: {}, body: Buffer.from(JSON.stringify(long)) }).own, false);
  const token = 'T'.repeat(64);
  const body = Buffer.from(`${' '.repeat(3_170)}${token} after`);
  assert.is(errorBody({ status: 502, headers: {}, body }).text, '…', 'the beginning of a token is not shown');
});

test.run();
