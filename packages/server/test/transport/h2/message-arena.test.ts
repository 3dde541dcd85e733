import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MessageArena } from '../../../src/transport/h2/message-arena.ts';

const test = suite('copies of request messages');
const bytes = (length: number, value = 7): Buffer => Buffer.alloc(length, value);

test('a copy has the bytes of its message, whatever happens to the chunk', () => {
  const chunk = Buffer.from('xxmessagexx');
  const copy = new MessageArena().copy(chunk, 2, 9);
  chunk.fill(0);
  assert.is(copy.toString(), 'message');
});

test('the place of the newest copy is used again once it is released', () => {
  const arena = new MessageArena();
  const first = arena.copy(bytes(100), 0, 100);
  arena.release(first);
  const second = arena.copy(bytes(100), 0, 100);
  assert.is(second.buffer, first.buffer);
  assert.is(second.byteOffset, first.byteOffset);
});

test('the place of an older copy is not: the newer one keeps its bytes', () => {
  const arena = new MessageArena();
  const older = arena.copy(bytes(100, 1), 0, 100);
  const newer = arena.copy(bytes(100, 2), 0, 100);
  arena.release(older);
  const third = arena.copy(bytes(100, 3), 0, 100);
  assert.equal([older[0], newer[0], third[0]], [0, 2, 3]);
});

test('a copy that is only wiped keeps its place', () => {
  const arena = new MessageArena();
  const left = arena.copy(bytes(100), 0, 100);
  left.fill(0);
  arena.copy(bytes(100), 0, 100);
  assert.ok(left.every((byte) => byte === 0));
});

test('a long message has memory of its own, and a short one shares 16 KiB at most', () => {
  const arena = new MessageArena();
  const [long, short] = [4_097, 4_096].map((length) => arena.copy(bytes(length), 0, length));
  assert.is(long!.buffer.byteLength, 4_097);
  assert.is(short!.buffer.byteLength, 16 * 1024);
});

test.run();
