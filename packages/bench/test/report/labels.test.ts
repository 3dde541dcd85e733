import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { placeLabels } from '../../src/report/labels.ts';

test('labels with enough room keep their position', () => assert.equal(placeLabels([100, 50], 17, 0, 200), [100, 50]));

test('two labels at the same position are placed around it', () =>
  assert.equal(placeLabels([100, 100], 20, 0, 200), [90, 110]));

test('moved labels move the next one', () => assert.equal(placeLabels([100, 100, 115], 20, 0, 200), [85, 105, 125]));

test('labels stay inside the chart', () => {
  assert.equal(placeLabels([1, 0], 20, 0, 200), [20, 0]);
  assert.equal(placeLabels([200, 199], 20, 0, 200), [200, 180]);
});

test.run();
