import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shownValue, withheldValue } from '../../src/util/shown-value.ts';

for (const [value, shown, withheld] of [
  [undefined, 'nothing', 'nothing'],
  [null, 'null', 'null'],
  [true, 'true', 'true'],
  [[], '[]', '[]'],
  ['hunter2', '"hunter2"', 'a text of 7 characters'],
  [1234, '1234', 'a number'],
  [['hunter2'], '["hunter2"]', 'a list'],
  [{ pin: 'hunter2' }, '{"pin":"hunter2"}', 'a map'],
] as const) {
  test(`${shown} is withheld as ${withheld}`, () => {
    assert.is(shownValue(value), shown);
    assert.is(withheldValue(value), withheld);
  });
}

test.run();
