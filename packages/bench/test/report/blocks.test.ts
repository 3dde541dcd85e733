import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { blockNames, fillBlocks, markdownTable } from '../../src/report/blocks.ts';

const TEXT = 'by hand\n<!-- a -->\nold\n<!-- /a -->\nmore\n<!-- chart b -->\n<!-- /chart b -->\nend\n';

test('the text between markers is replaced, and other text stays', () => {
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

test('blockNames lists all blocks', () => assert.equal(blockNames(TEXT), ['a', 'chart b']));

test('an unpaired marker is an error', () => {
  for (const text of ['<!-- a -->', '<!-- /a -->', '<!-- a -->\n<!-- b -->\n<!-- /b -->\n<!-- /a -->']) {
    assert.throws(() => fillBlocks(text, () => ''), /closes nothing|not closed|begins within/);
  }
});

test('a table cell cannot break its row, and numbers are aligned to the right', () =>
  assert.is(markdownTable(['what', 'n'], [['a|b\nc', 12]]), '| what | n |\n|---|---:|\n| a\\|b c | 12 |'));

test.run();
