import { FakeClock } from '@teapot-kms/testing';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createLogger } from '../../src/observability/logging.ts';
import { LogOutput } from '../../src/observability/log-output.ts';

/** A log that takes `room` bytes, then nothing until it gets more room. */
function setUp(room = Infinity) {
  const clock = new FakeClock();
  const target = { text: '', room, writes: 0 };
  const output = new LogOutput((bytes, done) => {
    target.writes++;
    const taken = Math.min(bytes.length, target.room);
    target.room -= taken;
    target.text += bytes.subarray(0, taken).toString();
    done(taken);
  }, clock);
  const dropped: number[] = [];
  output.onDropped = (lines) => dropped.push(lines);
  return { clock, target, output, dropped };
}

const LINE = `${'x'.repeat(1023)}\n`;
/** Bytes that wait. */
const ROOM = 1024 * 1024;

test('a line is written at once', () => {
  const { output, target } = setUp();
  output.write('one\n');
  assert.is(target.text, 'one\n');
});

test('lines wait in order while the log is full, and are tried ten times a second, not with each line', async () => {
  const { output, target, clock } = setUp(5);
  for (const line of ['one\n', 'two\n', 'three\n']) output.write(line);
  assert.is(target.text, 'one\nt');
  assert.is(target.writes, 2);
  await clock.advance(1_000);
  assert.is(target.writes, 12);
  target.room = Infinity;
  await clock.advance(100);
  assert.is(target.text, 'one\ntwo\nthree\n');
});

test('what waits is bounded in bytes; later lines are dropped and counted, and a line has their number once the log works', async () => {
  const { output, target, clock, dropped } = setUp(0);
  for (let i = 0; i < 3_000; i++) output.write(LINE);
  assert.is(output.dropped, 3_000 - ROOM / LINE.length);
  assert.equal(dropped, []);
  target.room = Infinity;
  await clock.advance(100);
  assert.is(target.text.length, ROOM);
  assert.equal(dropped, [3_000 - 1_024]);
  output.write('more\n');
  assert.equal(dropped, [1_976], 'told once');
});

test('the number of dropped lines is a line of its own', async () => {
  const { output, target, clock } = setUp(0);
  const log = createLogger('info', output);
  for (let i = 0; i < 2_000; i++) log.info(LINE);
  target.room = Infinity;
  await clock.advance(100);
  const lines = target.text.trimEnd().split('\n');
  const { lines: count, msg } = JSON.parse(lines.at(-1)!) as { lines: number; msg: string };
  assert.is(count, output.dropped);
  assert.match(msg, 'dropped');
  assert.is(lines.length - 1 + count, 2_000, 'no line is lost without being counted');
});

test('a line that is longer than what may wait is dropped while the log is full', () => {
  const { output } = setUp(0);
  output.write('y'.repeat(ROOM + 1));
  assert.is(output.dropped, 1);
});

test('with a writer that answers later, one write is under way at a time, and lines are merged', async () => {
  const pending: { text: string; done: () => void }[] = [];
  const output = new LogOutput((bytes, done) => {
    pending.push({ text: bytes.toString(), done: () => done(bytes.length) });
  }, new FakeClock());
  for (const line of ['a\n', 'b\n', 'c\n']) output.write(line);
  assert.equal(
    pending.map(({ text }) => text),
    ['a\n'],
  );
  const ended = output.end(1_000);
  pending[0]!.done();
  assert.is(pending[1]!.text, 'b\nc\n');
  pending[1]!.done();
  await ended;
});

test('the end waits for the last lines, and not longer than it may', async () => {
  const { output, clock } = setUp(0);
  await output.end(200);
  output.write('last\n');
  let ended = false;
  void output.end(200).then(() => (ended = true));
  await clock.advance(199);
  assert.not(ended);
  await clock.advance(1);
  assert.ok(ended);
});

test.run();
