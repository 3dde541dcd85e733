import type { Random } from '../../../test/transport/h2/random.ts';
import { MAX_REQUEST_BYTES } from '../../../src/transport/seam.ts';

/** One unary call, which both transports must answer alike. */
export interface PlannedCall {
  readonly path: string;
  readonly request: Buffer;
  readonly metadata: Readonly<Record<string, string>>;
  readonly timeoutMs: number | undefined;
  /** The client gives up once the handler has begun. */
  readonly cancels: boolean;
  /** Where the bytes of the request are cut into writes. */
  readonly cuts: readonly number[];
}

const STATUSES = [1, 3, 8, 9, 14];
const VISIBLE = Array.from({ length: 0x5e }, (_, n) => String.fromCharCode(0x21 + n)).join('');
const TEXT = Array.from(`${VISIBLE} %größer\n✓𝄞`);

const pick = <T>(random: Random, from: ArrayLike<T>): T => from[random.below(from.length)]!;
const text = (random: Random, from: ArrayLike<string>, length: number): string =>
  Array.from({ length }, () => pick(random, from)).join('');

function size(random: Random): number {
  const most = pick(random, [1, 40, 1_000, 16_400, 70_000, MAX_REQUEST_BYTES, MAX_REQUEST_BYTES + 10_000]);
  return random.below(most);
}

/** Cheap bytes that no two positions close to each other share. */
function filled(random: Random, length: number): Buffer {
  return Buffer.alloc(length, random.bytes(251));
}

function metadata(random: Random): Record<string, string> {
  const fields: Record<string, string> = {};
  for (let n = random.below(8); n > 0; n--) {
    if (random.below(4) === 0) fields[`x-${random.below(12)}-bin`] = random.bytes(random.below(60)).toString('base64');
    else fields[`x-${random.below(40)}`] = text(random, VISIBLE, 1 + random.below(pick(random, [8, 200])));
  }
  return fields;
}

export function planCall(random: Random): PlannedCall {
  const call = { metadata: metadata(random), timeoutMs: pick(random, [undefined, 60_000]), cancels: false };
  const plan = (path: string, request: Buffer, more: Partial<PlannedCall> = {}): PlannedCall => {
    const cuts = Array.from({ length: random.below(4) }, () => random.below(request.length + 6));
    return { ...call, path, request, cuts: cuts.sort((a, b) => a - b), ...more };
  };
  switch (random.below(10)) {
    case 0: {
      const status = Buffer.of(pick(random, STATUSES));
      return plan('/test/Fail', Buffer.concat([status, Buffer.from(`a${text(random, TEXT, random.below(60))}z`)]));
    }
    case 1:
      return plan('/test/Throw', random.bytes(random.below(9)));
    case 2: {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(random.below(pick(random, [100, 20_000, 300_000])));
      return plan('/test/Size', length);
    }
    case 3:
      return plan('/test/Unknown', filled(random, random.below(300)));
    case 4:
      return plan('/test/Hang', random.bytes(16), { timeoutMs: 1 + random.below(60) });
    case 5:
      return plan('/test/Hang', random.bytes(16), { cancels: true });
    case 6:
      return plan('/test/Later', filled(random, size(random)));
    default:
      return plan('/test/Echo', filled(random, size(random)));
  }
}
