import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withoutSecrets } from '../../src/setup/withheld.ts';

const SECRET = 'c2VjcmV0IGlzIHNlY3VyZSwgaXMgaXQ/PyE=';
const forms: Readonly<Record<string, string>> = {
  plain: `keys:\n  - name: a\n    secret: ${SECRET}\n`,
  quoted: `keys:\n  - "secret": '${SECRET}'\n    name: a\n`,
  literal: `keys:\n  - secret: |\n      ${SECRET}\n    name: a\n`,
  'in a block after a blank line': `keys:\n  - secret: |\n\n      ${SECRET}\n    name: a\n`,
  'in a block of several lines': `keys:\n  - secret: >-\n      ${SECRET.slice(0, 18)}\n\n      ${SECRET.slice(18)}\n    name: a\n`,
  'after a question mark': `keys:\n  - ? secret\n    : ${SECRET}\n    name: a\n`,
  'in another place': `keys:\n  - was: &k ${SECRET}\n    secret: *k\n    name: a\n`,
  'a short one in a comment': `keys:\n  # - secret: ${SECRET.slice(0, 12)}\n  - name: a\n`,
  'on the next line': `keys:\n  - secret:\n      ${SECRET}\n    name: a\n`,
  'in a flow map': `keys: [{name: a, secret: ${SECRET}}]\n`,
  'in a comment': `keys:\n  # - secret: ${SECRET}\n  - name: a\n`,
  'in a comment without its name': `keys:\n  # was ${SECRET}\n  - name: a\n`,
  JSON: `{"keys": [{"name": "a", "secret":"${SECRET}"}]}\n`,
};

for (const [name, text] of Object.entries(forms)) {
  test(`a secret that is ${name} is not shown, and its neighbours are`, () => {
    const shown = withoutSecrets(text);
    assert.not.match(shown, SECRET.slice(0, 8));
    assert.not.match(shown, SECRET.slice(-8));
    assert.match(shown, /name"?: "?a/);
  });
}

test('of what is no YAML nothing is shown', () =>
  assert.is(withoutSecrets(`keys: [\n  secret: ${SECRET}\n`), '(not shown)'));

test('what is no secret stays', () => {
  const text = '# secrets of the cluster\nresources: [secrets]\nendpoint: unix:///run/teapot-kms/main/kms.sock\n';
  assert.is(withoutSecrets(text), text);
});

test.run();
