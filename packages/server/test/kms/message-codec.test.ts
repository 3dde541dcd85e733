import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inspection, v1beta1, v2 } from '../../src/kms/messages.ts';
import type { Message, MessageCodec, MessageShape } from '../../src/kms/message-codec.ts';
import { MalformedMessage } from '@teapot-kms/core/protobuf';

/** An independent implementation, on the .proto files that we publish. */
function independent(file: string, message: string): protobuf.Type {
  const proto = readFileSync(join(import.meta.dirname, '../../proto', file), 'utf8');
  return protobuf.parse(proto, { keepCase: true }).root.lookupType(message);
}

type AnyCodec = MessageCodec<MessageShape>;
const messages: [name: string, ours: AnyCodec, theirs: protobuf.Type][] = [
  ...Object.entries(v2).map(([name, codec]) => [`v2.${name}`, codec, independent('v2.proto', `v2.${name}`)]),
  ...Object.entries(v1beta1).map(([name, codec]) => [
    `v1beta1.${name}`,
    codec,
    independent('v1beta1.proto', `v1beta1.${name}`),
  ]),
  ...Object.entries(inspection).map(([name, codec]) => [
    `inspection.${name}`,
    codec,
    independent('inspection.proto', `teapotkms.v1.${name}`),
  ]),
] as unknown as [string, AnyCodec, protobuf.Type][];

const RUNS = Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 2_000);
const text = fc.string({ unit: 'grapheme', maxLength: 40 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const mapOf = fc.array(fc.tuple(text, bytes), { maxLength: 4 }).map((entries) => new Map(entries));

/** Random values for every field of a message. */
function valuesFor(type: protobuf.Type): fc.Arbitrary<Record<string, unknown>> {
  const fields = type.fieldsArray.map((field) => [
    field.name,
    field.map ? mapOf : field.type === 'string' ? text : bytes,
  ]);
  return fc.record(Object.fromEntries(fields) as Record<string, fc.Arbitrary<unknown>>);
}

/** Both sides in one form: maps as sorted entries, bytes as hex. */
function normal(message: Record<string, unknown>): unknown {
  return Object.fromEntries(
    Object.entries(message).map(([name, value]) => {
      if (value instanceof Uint8Array) return [name, Buffer.from(value).toString('hex')];
      if (typeof value === 'string') return [name, value];
      const entries = value instanceof Map ? [...value] : Object.entries(value as Record<string, Uint8Array>);
      return [
        name,
        entries.map(([key, one]) => `${String(key)}=${Buffer.from(one as Uint8Array).toString('hex')}`).sort(),
      ];
    }),
  );
}

const toTheirs = (value: Record<string, unknown>) =>
  Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      name,
      one instanceof Map ? (Object.fromEntries(one) as Record<string, unknown>) : one,
    ]),
  );
const theirDecode = (type: protobuf.Type, encoded: Uint8Array): unknown =>
  normal(type.toObject(type.decode(encoded), { defaults: true, bytes: Buffer }));

for (const [name, ours, theirs] of messages) {
  test(`${name}: what we write, protobufjs reads`, () => {
    fc.assert(
      fc.property(valuesFor(theirs), (value) => {
        const encoded = ours.encode(value as Partial<Message<MessageShape>>);
        assert.equal(theirDecode(theirs, encoded), normal({ ...emptyOf(ours), ...value }));
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  });

  test(`${name}: what protobufjs writes, we read`, () => {
    fc.assert(
      fc.property(valuesFor(theirs), (value) => {
        const encoded = Buffer.from(theirs.encode(theirs.fromObject(toTheirs(value))).finish());
        assert.equal(normal(ours.decode(encoded)), normal({ ...emptyOf(ours), ...value }));
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  });
}

const emptyOf = (codec: AnyCodec): Record<string, unknown> => codec.decode(Buffer.alloc(0));

test('arbitrary bytes are a message or malformed, and what both implementations take means the same', () => {
  const started = performance.now();
  const heapBefore = process.memoryUsage().heapUsed;
  let agreed = 0;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: messages.length - 1 }), protobufLike(), (index, input) => {
      const [, ours, theirs] = messages[index]!;
      let message: unknown;
      try {
        message = normal(ours.decode(input));
      } catch (error) {
        assert.instance(error, MalformedMessage);
        return;
      }
      const other = attempt(() => theirDecode(theirs, input));
      if (other === undefined) return;
      assert.equal(message, other);
      agreed++;
    }),
    { numRuns: RUNS },
  );
  globalThis.gc?.();
  const grown = Math.round((process.memoryUsage().heapUsed - heapBefore) / 1024);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`\nFIGURE fuzz codec: ${RUNS} inputs, ${agreed} read alike, ${seconds} s, heap ${grown} KiB more`);
  assert.ok(agreed > RUNS / 20, `only ${agreed} of ${RUNS} inputs were readable: the generator is no good`);
  assert.ok(grown < 20_000, `the heap grew by ${grown} KiB`);
});

/** Fields with plausible numbers, types and lengths, sometimes cut or followed by noise. */
function protobufLike(): fc.Arbitrary<Buffer> {
  const field = fc
    .tuple(fc.integer({ min: 1, max: 6 }), fc.constantFrom(0, 1, 2, 2, 2, 2, 5), fc.uint8Array({ maxLength: 12 }))
    .map(([number, wireType, payload]) => {
      const tag = (number << 3) | wireType;
      if (wireType === 0) return [tag, payload.length];
      if (wireType === 1) return [tag, 1, 2, 3, 4, 5, 6, 7, 8];
      if (wireType === 5) return [tag, 1, 2, 3, 4];
      return [tag, payload.length, ...payload.map((byte) => byte & 0x7f)];
    });
  return fc
    .tuple(fc.array(field, { maxLength: 5 }), fc.uint8Array({ maxLength: 3 }), fc.integer({ min: 0, max: 3 }))
    .map(([fields, noise, cut]) => {
      const whole = Buffer.from([...fields.flat(), ...(cut === 1 ? noise : [])]);
      return cut === 2 ? whole.subarray(0, Math.floor(whole.length / 2)) : whole;
    });
}

function attempt<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch {
    return undefined;
  }
}

const malformed: [what: string, hex: string][] = [
  ['a length beyond the end', '0a05aabb'],
  ['a length of 2^63', '0affffffffffffffff7f'],
  ['a varint of 11 bytes', '08ffffffffffffffffffff01'],
  ['a varint beyond 64 bits', '08ffffffffffffffffff02'],
  ['field number 0', '0200'],
  ['wire type 6', '0e00'],
  ['a truncated fixed64', '0901'],
  ['an end of a group that was not begun', '0c'],
  ['a group that is not ended', '0b08'],
  ['groups that do not match', '0b14'],
  ['groups nested 40 deep', '0b'.repeat(40) + '0c'.repeat(40)],
  ['a string that is not UTF-8', '1202c328'],
];
for (const [what, hex] of malformed) {
  test(`${what} is malformed`, () => {
    try {
      v2.EncryptRequest.decode(Buffer.from(hex, 'hex'));
    } catch (error) {
      assert.instance(error, MalformedMessage);
      return;
    }
    assert.unreachable('it was decoded');
  });
}

test('a group is passed over', () => {
  const { uid } = v2.EncryptRequest.decode(Buffer.from('7b' + '0a0161' + '7c' + '120175', 'hex'));
  assert.is(uid, 'u');
});

test('as many annotations as a request can hold are read one by one, not copied for each', () => {
  const annotations = new Map(Array.from({ length: 12_000 }, (_, i) => [`k${i}`, Buffer.from('v')]));
  const encoded = v2.DecryptRequest.encode({ annotations });
  // The constructor of a Map that copies another calls `set` for each entry (ECMA-262 24.1.1.1), so copies would show.
  const original = Object.getOwnPropertyDescriptor(Map.prototype, 'set')!;
  const set = original.value as (this: Map<unknown, unknown>, key: unknown, value: unknown) => Map<unknown, unknown>;
  let entries = 0;
  Object.defineProperty(Map.prototype, 'set', {
    ...original,
    value(this: Map<unknown, unknown>, key: unknown, value: unknown) {
      entries++;
      return set.call(this, key, value);
    },
  });
  try {
    assert.is(v2.DecryptRequest.decode(encoded).annotations.size, 12_000);
  } finally {
    Object.defineProperty(Map.prototype, 'set', original);
  }
  assert.is(entries, 12_000);
  assert.is(v2.DecryptRequest.decode(Buffer.alloc(0)).annotations.size, 0);
});

test('of a field that comes twice the last counts', () => {
  assert.is(v2.EncryptRequest.decode(Buffer.from('120161120162', 'hex')).uid, 'b');
});

test.run();
