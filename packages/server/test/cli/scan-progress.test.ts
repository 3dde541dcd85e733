import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { progressLine } from '../../src/cli/scan-progress.ts';

function site(isTTY: boolean) {
  const clock = new FakeClock();
  let written = '';
  const line = progressLine(clock, { isTTY, write: (text) => ((written += String(text)), true) });
  return { clock, line, written: () => written };
}

test('in a log, a line every ten seconds with the rate and the time left', async () => {
  const { clock, line, written } = site(false);
  line.show({ objects: 10, fraction: 0.001 });
  await clock.advance(10_000);
  line.show({ objects: 25_000, fraction: 0.25 });
  line.show({ objects: 25_500, fraction: 0.255 });
  assert.is(written(), '25000 objects, 25 %, 2500 per second, 30 s left\n');
  line.end();
  assert.ok(written().endsWith('left\n'));
});

test('on a terminal, one line is overwritten each second and ended at the end', async () => {
  const { clock, line, written } = site(true);
  await clock.advance(1_000);
  line.show({ objects: 100, fraction: 0.5 });
  await clock.advance(1_000);
  line.show({ objects: 200, fraction: 1 });
  line.end();
  assert.is(
    written(),
    '\r\u001b[K100 objects, 50 %, 100 per second, 1 s left\r\u001b[K200 objects, 100 %, 100 per second, 0 s left\n',
  );
});

test('a scan that is over at once shows nothing', () => {
  const { line, written } = site(true);
  line.show({ objects: 3, fraction: 1 });
  line.end();
  assert.is(written(), '');
});

test.run();
