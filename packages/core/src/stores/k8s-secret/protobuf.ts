import { unavailable } from '../../errors.ts';
import { Reader } from '../../util/protobuf.ts';
import { safeText } from '../../util/safe-text.ts';
import type { SecretName } from './secret-name.ts';

/** What kube-apiserver puts before each protobuf object (k8s.io/apimachinery runtime/serializer/protobuf). */
const MAGIC = Buffer.from('k8s\0');

/**
 * A Secret as the API gives it in protobuf. In JSON each key would be base64 inside a string, which cannot be wiped. Here
 * everything stays in the one buffer of the answer, which {@link SecretObject.wipe} clears.
 */
export interface SecretObject {
  readonly uid: string;
  readonly resourceVersion: string;
  /** Views of the answer's buffer, by their names in `data`. */
  readonly data: ReadonlyMap<string, Buffer>;
  /** Whether `kubectl apply` has left a copy of the data in an annotation. */
  readonly hasAppliedCopy: boolean;
  readonly wipe: () => void;
}

/** Fields of an object, over all messages in it. A Secret of 1,000 keys has about 5,000. */
const MAX_FIELDS = 20_000;

/**
 * Reads a Secret. Field numbers: k8s.io/api core/v1 and apimachinery meta/v1 generated.proto.
 * @param body - the answer, which the returned object owns from now on
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` for anything but the Secret `wanted`
 */
export function parseSecret(body: Buffer, wanted: SecretName): SecretObject {
  try {
    const fieldsOf = fieldReader();
    const { kind, raw } = parseObject(body, fieldsOf);
    if (kind !== 'Secret') throw new Error(`a ${safeText(kind, 50)} instead of a Secret`);
    const fields = fieldsOf(raw);
    const metadata = new Map(fields).get(1) ?? NOTHING;
    const names = new Map(fieldsOf(metadata));
    if (textOf(names.get(1)) !== wanted.name || textOf(names.get(3)) !== wanted.namespace) {
      throw new Error('a Secret of another name or namespace');
    }
    const entries = fields.filter(([field]) => field === 2).map(([, entry]) => new Map(fieldsOf(entry)));
    return {
      uid: textOf(names.get(5)),
      resourceVersion: textOf(names.get(6)),
      data: new Map(entries.map((entry) => [textOf(entry.get(1)), entry.get(2) ?? NOTHING])),
      hasAppliedCopy: metadata.includes('kubectl.kubernetes.io/last-applied-configuration'),
      wipe: () => body.fill(0),
    };
  } catch (error) {
    body.fill(0);
    throw unavailable(`the API server's answer is not the Secret: ${(error as Error).message}`);
  }
}

/**
 * Reads a Status, the error object of the Kubernetes API: its message, and a reason such as `NotFound`. Returns `undefined`
 * for anything else, such as a proxy's page.
 */
export function parseStatus(body: Buffer): { message: string; reason: string } | undefined {
  try {
    const fieldsOf = fieldReader();
    const { kind, raw } = parseObject(body, fieldsOf);
    if (kind !== 'Status') return undefined;
    const fields = new Map(fieldsOf(raw));
    return { message: safeText(textOf(fields.get(3))), reason: safeText(textOf(fields.get(4)), 50) };
  } catch {
    return undefined;
  }
}

/** `runtime.Unknown`: the kind of the object, and its bytes. */
function parseObject(body: Buffer, fieldsOf: FieldReader): { kind: string; raw: Buffer } {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw new Error('no protobuf object');
  const unknown = new Map(fieldsOf(body.subarray(MAGIC.length)));
  const typeMeta = new Map(fieldsOf(unknown.get(1) ?? NOTHING));
  return { kind: textOf(typeMeta.get(2)), raw: unknown.get(2) ?? NOTHING };
}

type FieldReader = (message: Buffer) => [field: number, value: Buffer][];

/** Returns the function that reads the length-delimited fields of a message, as views of it. Others are skipped. It is for one object. */
function fieldReader(): FieldReader {
  let count = 0;
  return (message) => {
    const fields: ReturnType<FieldReader> = [];
    const reader = new Reader(message);
    while (!reader.done) {
      if (++count > MAX_FIELDS) throw new Error(`it has more than ${MAX_FIELDS} fields`);
      const tag = reader.tag();
      if ((tag & 7) === 2) fields.push([tag >>> 3, reader.bytes()]);
      else reader.skip(tag);
    }
    return fields;
  };
}

const NOTHING: Buffer = Buffer.alloc(0);
/** Longest text that is read, in bytes: names have at most 253, and of a message an error shows 300 characters. */
const MAX_TEXT_BYTES = 20_000;
const textOf = (bytes = NOTHING): string => bytes.toString('utf8', 0, MAX_TEXT_BYTES);
