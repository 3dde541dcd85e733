import type { TestFrame } from './frames.ts';
import { END_STREAM, Type } from './frames.ts';

const STATIC: Readonly<Record<number, readonly [string, string]>> = {
  8: [':status', '200'],
  12: [':status', '400'],
  31: ['content-type', ''],
};

/** Decodes what this server sends: enough of HPACK for its header blocks, with the client's dynamic table. */
export class ResponseDecoder {
  readonly #table: [string, string][] = [];

  decode(block: Buffer): Record<string, string> {
    const fields: Record<string, string> = {};
    let at = 0;
    const integer = (bits: number): number => {
      const max = 2 ** bits - 1;
      let value = block[at++]! & max;
      if (value < max) return value;
      for (let shift = 0; ; shift += 7) {
        const byte = block[at++]!;
        value += (byte & 127) * 2 ** shift;
        if (byte < 128) return value;
      }
    };
    const string = (): string => {
      const length = integer(7);
      at += length;
      return block.toString('latin1', at - length, at);
    };
    const entry = (index: number): readonly [string, string] => {
      const found = index > 61 ? this.#table[index - 62] : STATIC[index];
      if (!found) throw new Error(`index ${index}`);
      return found;
    };
    while (at < block.length) {
      const byte = block[at]!;
      if (byte >= 0x80) {
        const [name, value] = entry(integer(7));
        fields[name] = value;
      } else if (byte >= 0x40 || byte < 0x20) {
        const index = integer(byte >= 0x40 ? 6 : 4);
        const name = index === 0 ? string() : entry(index)[0];
        fields[name] = string();
        if (byte >= 0x40) this.#table.unshift([name, fields[name]]);
      } else {
        if (integer(5) === 0) this.#table.length = 0;
      }
    }
    return fields;
  }
}

export interface Answer {
  fields: Record<string, string>;
  trailers: Record<string, string> | undefined;
  body: Buffer;
  ended: boolean;
  reset: number | undefined;
}

/** Puts the answers of streams together, and checks on the way that a server may send what it does. */
export class Answers {
  readonly byStream = new Map<number, Answer>();
  readonly #decoder = new ResponseDecoder();

  add(frames: readonly TestFrame[]): void {
    for (const { type, flags, id, payload } of frames) {
      if (type !== Type.HEADERS && type !== Type.DATA && type !== Type.RST_STREAM) continue;
      const answer = this.byStream.get(id);
      if (answer?.reset !== undefined) throw new Error(`a frame after RST_STREAM on stream ${id}`);
      if (type === Type.RST_STREAM) {
        const before = answer ?? {
          fields: {},
          trailers: undefined,
          body: Buffer.alloc(0),
          ended: false,
          reset: undefined,
        };
        this.byStream.set(id, { ...before, reset: payload.readUInt32BE(0) });
        continue;
      }
      if (answer?.ended) throw new Error(`a frame after END_STREAM on stream ${id}`);
      const ended = (flags & END_STREAM) !== 0;
      if (type === Type.DATA) {
        if (!answer) throw new Error(`DATA before HEADERS on stream ${id}`);
        answer.body = Buffer.concat([answer.body, payload]);
        answer.ended = ended;
      } else if (answer) {
        answer.trailers = this.#decoder.decode(payload);
        answer.ended = ended;
        if (!ended) throw new Error(`HEADERS in the middle of stream ${id}`);
      } else {
        const fields = this.#decoder.decode(payload);
        this.byStream.set(id, { fields, trailers: undefined, body: Buffer.alloc(0), ended, reset: undefined });
      }
    }
  }
}
