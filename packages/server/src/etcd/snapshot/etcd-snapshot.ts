import { MalformedMessage } from '@teapot-kms/core/protobuf';
import { createHash } from 'node:crypto';
import { decodeKeyValue } from '../key-value.ts';
import type { EtcdObject } from '../key-value.ts';
import { BoltFile, InvalidFile, invalidSnapshot } from './bolt-file.ts';
import { elementsDescending, leavesDescending } from './bolt-tree.ts';
import type { BoltElement } from './bolt-tree.ts';
import { SeenKeys } from './seen-keys.ts';

/** A revision in the bucket `key` (etcd server/storage/mvcc/revision.go): two numbers with `_` between, and `t` behind a deletion. */
const REVISION_BYTES = 17;
const TOMBSTONE_BYTES = 18;
const UNDERSCORE = 0x5f;
const TOMBSTONE = 0x74;

/** etcdctl appends the SHA-256 of the database, whose own length is a multiple of 512 (etcdutl/snapshot/v3_snapshot.go). */
const DIGEST_BYTES = 32;
const CHUNK_BYTES = 1024 * 1024;

export interface SnapshotDigest {
  /** SHA-256 of the whole file, hexadecimal. */
  readonly sha256: string;
  /** Whether etcdctl's checksum was there and right. A copy of `member/snap/db` has none. */
  readonly verified: boolean;
}

/** A file of `etcdctl snapshot save`, or a copy of `member/snap/db` of a stopped etcd. Read only. */
export class EtcdSnapshot {
  readonly path: string;
  readonly #file: BoltFile;
  /** The newest revision in it; 0 until something was read. */
  revision = 0;

  /** @throws {@link KmsError} `ERR_KMS_SNAPSHOT_INVALID`, or the error of the file system */
  constructor(path: string) {
    this.path = path;
    try {
      this.#file = new BoltFile(path);
    } catch (error) {
      throw error instanceof InvalidFile ? invalidSnapshot(path, error) : error;
    }
  }

  get bytes(): number {
    return this.#file.bytes;
  }

  /** Fraction of the file that {@link EtcdSnapshot.objects} has read. */
  get progress(): number {
    return this.#file.progress;
  }

  /**
   * Checks the checksum at the end of the file.
   * @throws {@link KmsError} `ERR_KMS_SNAPSHOT_INVALID` if it is wrong
   */
  digest(): SnapshotDigest {
    const checked = this.bytes % 512 === DIGEST_BYTES;
    const end = checked ? this.bytes - DIGEST_BYTES : this.bytes;
    const whole = createHash('sha256');
    const chunk = Buffer.alloc(Math.min(end, CHUNK_BYTES));
    for (let at = 0; at < end; at += CHUNK_BYTES) whole.update(this.#file.fill(chunk.subarray(0, end - at), at));
    if (!checked) return { sha256: whole.digest('hex'), verified: false };
    const computed = whole.copy().digest();
    if (!this.#file.fill(Buffer.alloc(DIGEST_BYTES), end).equals(computed)) {
      throw invalidSnapshot(this.path, new InvalidFile('its checksum is wrong: it was changed, or is cut off'));
    }
    return { sha256: whole.update(computed).digest('hex'), verified: true };
  }

  /**
   * Yields the objects that exist below a prefix, newest revision first, each valid until the next. May be called once.
   * @throws {@link KmsError} `ERR_KMS_SNAPSHOT_INVALID`
   */
  *objects(prefix: string): Generator<EtcdObject, void, undefined> {
    try {
      yield* this.#objects(Buffer.from(prefix));
    } catch (error) {
      // What the consumer throws does not come here.
      if (error instanceof InvalidFile || error instanceof MalformedMessage) throw invalidSnapshot(this.path, error);
      throw error;
    }
  }

  close(): void {
    this.#file.close();
  }

  /** Of the revisions of a key only the newest counts, and it comes first. */
  *#objects(prefix: Buffer): Generator<EtcdObject, void, undefined> {
    const seen = new SeenKeys();
    let before: Buffer | undefined;
    for (const leaf of leavesDescending(this.#file, 'key')) {
      for (const element of elementsDescending(leaf)) {
        const { deleted, modRevision } = revisionOf(element);
        if (before && before.compare(element.key) <= 0) throw new InvalidFile('its revisions are out of order');
        before = Buffer.from(element.key);
        this.revision ||= modRevision;
        const object = decodeKeyValue(element.value);
        if (!object.key.subarray(0, prefix.length).equals(prefix) || !seen.add(object.key) || deleted) continue;
        if (object.modRevision !== modRevision) throw new InvalidFile(`revision ${modRevision} holds another one`);
        yield object;
      }
    }
  }
}

function revisionOf({ key, isBucket }: BoltElement): { modRevision: number; deleted: boolean } {
  const deleted = key.length === TOMBSTONE_BYTES && key[REVISION_BYTES] === TOMBSTONE;
  const modRevision = key.length < REVISION_BYTES ? NaN : Number(key.readBigUInt64BE(0));
  if (
    isBucket ||
    !(deleted || key.length === REVISION_BYTES) ||
    key[8] !== UNDERSCORE ||
    !Number.isSafeInteger(modRevision)
  ) {
    throw new InvalidFile('a key of its bucket "key" is no revision');
  }
  return { modRevision, deleted };
}
