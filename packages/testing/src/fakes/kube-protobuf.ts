/** Kubernetes objects in protobuf, written by hand, for tests of our parser beside a real kube-apiserver's. */

/** A message of length-delimited fields. */
export function message(...fields: readonly (readonly [field: number, value: string | Buffer])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([field, value]) => {
      const bytes = Buffer.from(value as string);
      return [varint(field * 8 + 2), varint(bytes.length), bytes];
    }),
  );
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) + 128);
  }
}

const object = (kind: string, raw: Buffer): Buffer =>
  Buffer.concat([Buffer.from('k8s\0'), message([1, message([1, 'v1'], [2, kind])], [2, raw])]);

export interface SecretParts {
  readonly name: string;
  /** Default: `ns`. */
  readonly namespace?: string;
  readonly data: Readonly<Record<string, Buffer>>;
  readonly version?: string;
  /** Further fields of the metadata. */
  readonly metadata?: Buffer;
}

export function secretObject(parts: SecretParts): Buffer {
  const { name, namespace = 'ns', data, version = '42', metadata = Buffer.alloc(0) } = parts;
  const meta = Buffer.concat([message([1, name], [3, namespace], [5, 'uid-1'], [6, version]), metadata]);
  const entries = Object.entries(data).map(([key, value]) => [2, message([1, key], [2, value])] as const);
  return object('Secret', message([1, meta], ...entries, [3, 'Opaque']));
}

export const statusObject = (reason: string, text: string): Buffer =>
  object('Status', message([2, 'Failure'], [3, text], [4, reason]));
