import { MalformedMessage } from '@teapot-kms/core/protobuf';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeRange, encodeRange } from '../../src/etcd/range.ts';

/** Fields as in etcd's api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto, for an independent implementation. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message RangeRequest {
    bytes key = 1; bytes range_end = 2; int64 limit = 3; int64 revision = 4; bool serializable = 7; bool keys_only = 8;
  }
  message ResponseHeader { uint64 cluster_id = 1; uint64 member_id = 2; int64 revision = 3; uint64 raft_term = 4; }
  message KeyValue {
    bytes key = 1; int64 create_revision = 2; int64 mod_revision = 3; int64 version = 4; bytes value = 5; int64 lease = 6;
  }
  message RangeResponse { ResponseHeader header = 1; repeated KeyValue kvs = 2; bool more = 3; int64 count = 4; }`);
const RUNS = Number(process.env['TEAPOT_FUZZ_RUNS'] ?? 2_000);
const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array));
const int64 = fc.maxSafeNat();
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

test('what we write, protobufjs reads', () => {
  const type = root.lookupType('RangeRequest');
  fc.assert(
    fc.property(bytes, bytes, fc.nat(), int64, (key, rangeEnd, limit, revision) => {
      const read = type.decode(encodeRange({ key, rangeEnd, limit, revision }));
      const {
        limit: readLimit,
        revision: readRevision,
        ...rest
      } = type.toObject(read, { longs: String, defaults: true }) as {
        limit: string;
        revision: string;
      };
      assert.equal([readLimit, readRevision], [String(limit), String(revision)]);
      assert.equal(rest, { key, rangeEnd, serializable: false, keysOnly: false }, 'a linearizable read of values');
    }),
    { numRuns: Math.ceil(RUNS / 10) },
  );
});

test('what protobufjs writes, we read, with all bits of the ids', () => {
  const type = root.lookupType('RangeResponse');
  const kv = fc.record({ key: bytes, value: bytes, modRevision: int64, createRevision: int64, version: fc.nat() });
  fc.assert(
    fc.property(
      uint64,
      uint64,
      int64,
      fc.array(kv, { maxLength: 5 }),
      fc.boolean(),
      int64,
      (cluster, member, revision, kvs, more, count) => {
        const header = { clusterId: cluster.toString(), memberId: member.toString(), revision, raftTerm: 3 };
        const written = Buffer.from(type.encode(type.fromObject({ header, kvs, more, count })).finish());
        const objects = kvs.map(({ key, value, modRevision }) => ({ key, value, modRevision }));
        const ids = [cluster, member].map((id) => (id === 0n ? '' : id.toString(16)));
        assert.equal(decodeRange(written), { clusterId: ids[0], memberId: ids[1], revision, objects, more, count });
      },
    ),
    { numRuns: Math.ceil(RUNS / 10) },
  );
});

test('arbitrary bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (array) => {
      try {
        decodeRange(Buffer.from(array));
      } catch (error) {
        assert.ok(error instanceof MalformedMessage, String(error));
      }
    }),
    { numRuns: RUNS },
  );
});

test.run();
