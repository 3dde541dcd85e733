import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { blockNames, fillBlocks, markdownTable } from '../../src/report/blocks.ts';

const TEXT = 'by hand\n<!-- a -->\nold\n<!-- /a -->\nmore\n<!-- chart b -->\n<!-- /chart b -->\nend\n';

test('what is between markers is replaced, the rest stays', () => {
  const filled = fillBlocks(TEXT, (name) => `new ${name}`);
  assert.is(
    filled,
    'by hand\n<!-- a -->\n\nnew a\n\n<!-- /a -->\nmore\n<!-- chart b -->\n\nnew chart b\n\n<!-- /chart b -->\nend\n',
  );
});

test('filling twice changes nothing', () => {
  const once = fillBlocks(TEXT, (name) => name);
  assert.is(
    fillBlocks(once, (name) => name),
    once,
  );
});

test('blocks are known by name', () => assert.equal(blockNames(TEXT), ['a', 'chart b']));

test('a marker without its partner is an error', () => {
  for (const text of ['<!-- a -->', '<!-- /a -->', '<!-- a -->\n<!-- b -->\n<!-- /b -->\n<!-- /a -->']) {
    assert.throws(() => fillBlocks(text, () => ''), /closes nothing|not closed|begins within/);
  }
});

test('a table cell cannot break its row, and numbers stand to the right', () =>
  assert.is(markdownTable(['what', 'n'], [['a|b\nc', 12]]), '| what | n |\n|---|---:|\n| a\\|b c | 12 |'));

test.run();
