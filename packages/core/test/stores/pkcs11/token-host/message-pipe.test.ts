import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { serialize } from 'node:v8';
import {
  encodeMessage,
  MAX_MESSAGE_BYTES,
  MessageReader,
} from '../../../../src/stores/pkcs11/token-host/message-pipe.ts';
import { fuzz, fuzzRuns } from '../../../support/fuzz.ts';
import { damaged, Random } from '../../../support/random-answers.ts';

const messages = [{ type: 'started' }, 'stop', [{ id: 1, ask: { op: 'wrap', key: Buffer.alloc(72, 7) } }]];
const stream = Buffer.concat(messages.map(encodeMessage));

/** What comes out of chunks. */
function read(chunks: readonly Buffer[]): unknown[] {
  const found: unknown[] = [];
  const reader = new MessageReader((message) => found.push(message));
  for (const chunk of chunks) reader.add(chunk);
  return found;
}

test('messages arrive, however the pipe cuts them', () => {
  assert.equal(read([stream]), messages);
  for (let cut = 0; cut <= stream.length; cut++) {
    assert.equal(read([stream.subarray(0, cut), stream.subarray(cut)]), messages, `cut at ${cut}`);
  }
  assert.equal(read([...stream].map((byte) => Buffer.of(byte))), messages, 'byte by byte');
});

test('a message that is too long is refused by its length, before it is held', () => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(MAX_MESSAGE_BYTES + 1);
  assert.throws(() => read([length]), /a message of \d+ bytes/);
});

test('a length that is right and bytes that are no message', () => {
  for (const bytes of [Buffer.alloc(8, 1), Buffer.alloc(0), serialize([1]).subarray(0, 3)]) {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    assert.throws(() => read([Buffer.concat([length, bytes])]), Error);
  }
});

test('random bytes are a message or an error, and nothing is kept of them', async () => {
  const random = new Random(0x7ea9);
  const runs = Math.min(fuzzRuns(), 100_000);
  const { heapGrowthMb } = await fuzz('messages of the token host', runs, () => {
    const bytes = damaged(random.oneIn(3) ? random.bytes(random.below(64)) : stream, random);
    try {
      read([bytes]);
    } catch (error) {
      assert.instance(error, Error);
    }
  });
  assert.ok(heapGrowthMb < 8, `${heapGrowthMb} MB`);
});

test.run();
