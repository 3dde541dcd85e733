import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConnectionError } from '../../../src/transport/h2/errors.ts';
import { Kind } from '../../../src/transport/h2/fields.ts';
import { HeaderDecoder } from '../../../src/transport/h2/hpack.ts';
import { decodeHuffman } from '../../../src/transport/h2/huffman.ts';
import { RequestHead } from '../../../src/transport/h2/request-head.ts';
import { HpackEncoder, huffman } from './hpack-encoder.ts';

const test = suite('hpack');

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

function decode(decoder: HeaderDecoder, block: Buffer): RequestHead {
  const head = new RequestHead();
  decoder.decode(block, 0, block.length, head);
  return head;
}

function codeOf(block: Buffer, decoder = new HeaderDecoder()): string {
  try {
    decode(decoder, block);
  } catch (error) {
    if (error instanceof ConnectionError) return error.code;
    throw error;
  }
  return 'ok';
}

const huffmanText = (bytes: Buffer): string | undefined => {
  const out = Buffer.alloc(200);
  const end = decodeHuffman(bytes, 0, bytes.length, out, 0);
  return end < 0 ? undefined : out.toString('latin1', 0, end);
};

test('RFC 7541 C.4: Huffman strings', () => {
  const strings = {
    'www.example.com': 'f1e3 c2e5 f23a 6ba0 ab90 f4ff',
    'no-cache': 'a8eb 1064 9cbf',
    'custom-key': '25a8 49e9 5ba9 7d7f',
    'custom-value': '25a8 49e9 5bb8 e8b4 bf',
  };
  for (const [text, bytes] of Object.entries(strings)) assert.is(huffmanText(hex(bytes)), text);
});

test('RFC 7541 C.6: Huffman strings of responses', () => {
  const strings = {
    'Mon, 21 Oct 2013 20:13:21 GMT': 'd07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff',
    'https://www.example.com': '9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3',
    'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1':
      '94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
  };
  for (const [text, bytes] of Object.entries(strings)) assert.is(huffmanText(hex(bytes)), text);
});

test('Huffman: every byte survives the encoder of the tests and this decoder', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const coded = huffman(Buffer.from(bytes));
      const out = Buffer.alloc(200);
      const end = decodeHuffman(coded, 0, coded.length, out, 0);
      assert.equal(out.subarray(0, end), Buffer.from(bytes));
    }),
  );
});

test('Huffman: padding of 8 bits, padding with a 0, and EOS are refused', () => {
  assert.is(huffmanText(Buffer.concat([huffman(Buffer.from('a')), Buffer.of(0xff)])), undefined);
  assert.is(huffmanText(Buffer.of(0b0001_1000)), undefined);
  assert.is(huffmanText(Buffer.of(0xff, 0xff, 0xff, 0xff)), undefined);
});

for (const [what, blocks] of [
  [
    'C.3: without Huffman coding',
    [
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
  ],
  [
    'C.4: with Huffman coding',
    [
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
  ],
] as const) {
  test(`RFC 7541 ${what}: three requests on one connection`, () => {
    const decoder = new HeaderDecoder();
    const heads = blocks.map((block) => decode(decoder, hex(block)));
    assert.equal(
      heads.map(({ path, isMalformedRequest }) => [path, isMalformedRequest]),
      [
        ['/', false],
        ['/', false],
        ['/index.html', false],
      ],
    );
  });
}

test('what random encoders send is understood, through table changes and evictions', () => {
  const name = fc.constantFrom(
    ':method',
    ':scheme',
    ':path',
    'content-type',
    'grpc-timeout',
    'te',
    'x-a',
    'x-long-name',
  );
  const value = fc.string({ unit: fc.constantFrom('a', 'b', 'X', '0', '9', '-', '/'), minLength: 1, maxLength: 300 });
  const form = fc.constantFrom('indexed', 'insert', 'plain', 'never');
  const field = fc.record({
    name,
    value,
    form: form,
    huffman: fc.boolean(),
  });
  const block = fc.record({
    fields: fc.array(field, { maxLength: 12 }),
    resize: fc.option(fc.integer({ min: 0, max: 4_096 })),
  });
  fc.assert(
    fc.property(fc.array(block, { maxLength: 30 }), (blocks) => {
      const encoder = new HpackEncoder();
      const decoder = new HeaderDecoder();
      for (const { fields, resize } of blocks) {
        const seen: (readonly [kind: number, size: number, text: string])[] = [];
        const head = new RequestHead();
        head.add = ({ kind, size, text }) => seen.push([kind, size, text]);
        const bytes = encoder.encode(fields, resize ?? undefined);
        decoder.decode(bytes, 0, bytes.length, head);
        assert.equal(
          seen.map(([, size]) => size),
          fields.map((one) => one.name.length + one.value.length + 32),
        );
        fields.forEach((one, index) => {
          if (one.name === ':path') assert.is(seen[index]![2], one.value);
          if (one.name === 'x-a') assert.is(seen[index]![0], Kind.OTHER);
        });
      }
    }),
  );
});

test('grpc-timeout in every unit', () => {
  const ms = (value: string): number =>
    decode(
      new HeaderDecoder(),
      new HpackEncoder().encode([{ name: 'grpc-timeout', value, form: 'plain', huffman: true }]),
    ).timeoutMs;
  assert.equal(
    ['1n', '2999993u', '5m', '2S', '3M', '4H', '99999999H', '', 'n', '1x', '1.5m', '-1m', '123456789m'].map((text) =>
      text === '' ? -1 : ms(text),
    ),
    [1e-6, 2_999.993, 5, 2_000, 180_000, 14_400_000, Infinity, -1, -1, -1, -1, -1, -1].map((value, index) =>
      index === 1 ? 2_999_993 * 1e-3 : value,
    ),
  );
});

test('a table size above the announced one is refused', () => {
  assert.is(codeOf(hex('3fe2 1f')), 'COMPRESSION_ERROR');
});

test('two table size updates in a row are lawful at the start of a block, and not after a field', () => {
  assert.is(codeOf(hex('20 3fe1 1f 82')), 'ok');
  assert.is(codeOf(hex('82 20')), 'COMPRESSION_ERROR');
});

test('a truncated block is refused, wherever it is cut', () => {
  const block = new HpackEncoder().encode([{ name: 'x-a', value: 'b'.repeat(200), form: 'insert', huffman: true }]);
  for (let end = 1; end < block.length; end++) assert.is(codeOf(block.subarray(0, end)), 'COMPRESSION_ERROR');
});

test('arbitrary bytes are a block or a compression error, never anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const code = codeOf(Buffer.from(bytes));
      assert.ok(['ok', 'COMPRESSION_ERROR', 'ENHANCE_YOUR_CALM'].includes(code), code);
    }),
  );
});

test.run();
