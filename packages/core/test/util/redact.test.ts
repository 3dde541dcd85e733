import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { redact, redactBytes } from '../../src/util/redact.ts';

const redacted = (text: string, ...secrets: (string | undefined)[]): string => {
  const bytes = Buffer.from(text);
  redact(bytes, secrets);
  return bytes.toString();
};

test('each place of a secret is overwritten, and nothing else', () => {
  assert.is(redacted('no hunter2 here, hunter2!', 'hunter2', undefined), 'no ******* here, *******!');
});

test('the form that a secret has in JSON is found', () => {
  assert.is(redacted(String.raw`{"message":"no a\"b\\c here"}`, 'a"b\\c'), `{"message":"no ${'*'.repeat(7)} here"}`);
});

test('the forms that a secret has in a URL and in HTML are found', () => {
  const secret = 'a&b/"c"';
  assert.is(redacted(`no ${encodeURIComponent(secret)} here`, secret), `no ${'*'.repeat(15)} here`);
  assert.is(redacted('no a&amp;b/&quot;c&quot; here', secret), `no ${'*'.repeat(21)} here`);
});

test('a secret that is a part of another one does not save the rest of it', () => {
  assert.is(redacted('no hunter2-long here', 'hunter2', 'hunter2-long'), `no ${'*'.repeat(12)} here`);
});

test('a text that is too short to be a secret stays', () => {
  assert.is(redacted('a cat', 'a', 'cat'), 'a cat');
});

for (const dump of ['4a-PIN', '34612d50494e', '34612D50494E', '34 61 2d 50 49 4e', '34:61:2D:50:49:4E']) {
  test(`the bytes of a PIN are found as ${dump}`, () => {
    const bytes = Buffer.from(`C_Login ${dump}, done`);
    redactBytes(bytes, [Buffer.from('4a-PIN')]);
    assert.is(bytes.toString(), `C_Login ${'*'.repeat(dump.length)}, done`);
  });
}

test('a PIN of one character is found too', () => {
  const bytes = Buffer.from('C_Login 7, done');
  redactBytes(bytes, [Buffer.from('7')]);
  assert.is(bytes.toString(), 'C_Login *, done');
});

test.run();
