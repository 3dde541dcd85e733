import { KmsError } from '../../errors.ts';

/** The media type in which these objects are asked for. */
export const PROTOBUF = 'application/vnd.kubernetes.protobuf';

/** What kube-apiserver puts before each protobuf object (k8s.io/apimachinery runtime/serializer/protobuf). */
const MAGIC = Buffer.from('k8s\0');

/**
 * A Secret as its API gives it in protobuf. In JSON each key would be base64 inside a string, which cannot be wiped; here
 * all of it stays in the one buffer that the answer came in, which {@link SecretObject.wipe} clears.
 */
export interface SecretObject {
  readonly uid: string;
  readonly resourceVersion: string;
  /** Views of the answer's buffer, by their names in `data`. */
  readonly data: ReadonlyMap<string, Buffer>;
  /** Whether `kubectl apply` has left a copy of the data in an annotation. */
  readonly hasAppliedCopy: boolean;
  wipe(): void;
}

/** The error object of Kubernetes' API. */
export interface ApiStatus {
  readonly message: string;
  /** For instance `NotFound`. */
  readonly reason: string;
}

/** Takes `body` over. Field numbers: k8s.io/api core/v1 and apimachinery meta/v1 generated.proto. */
export function parseSecret(body: Buffer): SecretObject {
  const { kind, raw } = parseObject(body);
  if (kind !== 'Secret') throw malformed(`a ${kind} instead of a Secret`);
  let metadata: Buffer = Buffer.alloc(0);
  const data = new Map<string, Buffer>();
  for (const [field, value] of fieldsOf(raw)) {
    if (field === 1) metadata = value;
    if (field === 2) {
      const entry = new Map(fieldsOf(value));
      data.set(textOf(entry.get(1)), entry.get(2) ?? Buffer.alloc(0));
    }
  }
  const names = new Map(fieldsOf(metadata));
  return {
    uid: textOf(names.get(5)),
    resourceVersion: textOf(names.get(6)),
    data,
    hasAppliedCopy: metadata.includes('kubectl.kubernetes.io/last-applied-configuration'),
    wipe: () => body.fill(0),
  };
}

/** `undefined` where the body is something else, such as a proxy's page. */
export function parseStatus(body: Buffer): ApiStatus | undefined {
  try {
    const { kind, raw } = parseObject(body);
    if (kind !== 'Status') return undefined;
    const fields = new Map(fieldsOf(raw));
    return { message: textOf(fields.get(3)), reason: textOf(fields.get(4)) };
  } catch {
    return undefined;
  }
}

/** `runtime.Unknown`: what kind of object it is, and its bytes. */
function parseObject(body: Buffer): { kind: string; raw: Buffer } {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw malformed('no protobuf object');
  const unknown = new Map(fieldsOf(body.subarray(MAGIC.length)));
  const typeMeta = new Map(fieldsOf(unknown.get(1) ?? Buffer.alloc(0)));
  return { kind: textOf(typeMeta.get(2)), raw: unknown.get(2) ?? Buffer.alloc(0) };
}

/** The length-delimited fields of a message, as views of it; others are skipped. */
function fieldsOf(message: Buffer): [field: number, value: Buffer][] {
  const fields: [number, Buffer][] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 63; scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw malformed('a message that is cut off');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw malformed('a number without an end');
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    if (type === 0) varint();
    else if (type === 2) {
      const length = varint();
      if (length > message.length - at) throw malformed('a field that is cut off');
      fields.push([Math.floor(tag / 8), message.subarray(at, at + length)]);
      at += length;
    } else throw malformed(`wire type ${type}`);
  }
  return fields;
}

const textOf = (bytes: Buffer | undefined): string => (bytes ?? Buffer.alloc(0)).toString('utf8');

function malformed(what: string): KmsError {
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `the API server's answer cannot be understood: ${what}`);
}
