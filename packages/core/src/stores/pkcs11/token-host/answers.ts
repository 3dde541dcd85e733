import * as z from 'zod';
import { KEY_BYTES, MAX_WRAPPED_BYTES, NONCE_BYTES, TAG_BYTES } from '../../../envelope/limits.ts';
import { mechanismNames } from './mechanism-name.ts';
import { failureKinds } from './protocol.ts';
import { bitsOf, RSA_BITS } from './rsa-oaep.ts';
import type { Ask, FromHost, OperationName, Reply } from './protocol.ts';

/** Keys with one label that are listed. A keyset has 1,000 at most. */
export const MAX_LISTED_KEYS = 10_000;
/** Characters of a text that a token chooses. */
const MAX_TEXT = 1_024;

const text = z.string().max(MAX_TEXT);
const publicKey = z
  .strictObject({ modulus: z.instanceof(Uint8Array), exponent: z.instanceof(Uint8Array) })
  .refine(({ modulus, exponent }) => {
    const bits = bitsOf({ modulus, exponent });
    const isOfSize = bits >= Math.min(...RSA_BITS) && bits <= Math.max(...RSA_BITS);
    const [first = 0] = exponent;
    // Odd, without a leading zero, and not 1: with that, what is encrypted stays in the clear.
    return (
      isOfSize && first > 0 && exponent.length <= 8 && exponent.at(-1)! % 2 === 1 && (exponent.length > 1 || first > 1)
    );
  });
const remarks = z.array(text).max(16);

const answers: { readonly [Name in OperationName]: z.ZodType } = {
  token: z.strictObject({
    label: text,
    manufacturer: text,
    serial: text,
    model: text,
    pinFinalTry: z.boolean(),
    pinLocked: z.boolean(),
    loggedIn: z.boolean(),
  }),
  login: z.boolean(),
  key: z.strictObject({
    mechanism: z.enum(mechanismNames),
    remarks,
    publicKey: publicKey.optional(),
  }),
  trial: remarks,
  wrap: z.instanceof(Uint8Array).refine(({ length }) => length > 0 && length < MAX_WRAPPED_BYTES),
  unwrap: z.instanceof(Uint8Array).refine(({ length }) => length === NONCE_BYTES + KEY_BYTES + TAG_BYTES),
  generate: z.undefined(),
  import: z.undefined(),
  destroy: z.undefined(),
  list: z.array(text).max(MAX_LISTED_KEYS),
};

const failure = z.strictObject({ kind: z.enum(failureKinds), message: z.string() });
const reply = z.strictObject({
  id: z.int(),
  value: z.unknown().optional(),
  failure: failure.optional(),
  sessionsOpened: z.int().min(0).max(1_000),
});
const fromHost = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('started') }),
  z.strictObject({ type: z.literal('login-of-a-thread') }),
  z.strictObject({ type: z.literal('broken'), message: z.string() }),
  z.strictObject({ type: z.literal('replies'), replies: z.array(reply) }),
]);

/**
 * Whether the process may send this. A module that writes where it must not is in that process too.
 */
export const isFromHost = (message: unknown): message is FromHost => fromHost.safeParse(message).success;

/** Whether a reply can be the answer to what was asked. */
export function isAnswerTo(ask: Ask, { value, failure }: Reply): boolean {
  if (failure) return value === undefined;
  if (!answers[ask.op].safeParse(value).success) return false;
  return (
    ask.op !== 'key' || ask.mechanisms.includes((value as { mechanism: (typeof mechanismNames)[number] }).mechanism)
  );
}
