/** The lengths of `docs/spec/envelope-v1.md` §8, in bytes. */
export const KEY_BYTES = 32;
export const NONCE_BYTES = 24;
export const TAG_BYTES = 16;
export const CONTEXT_ID_BYTES = 16;
export const MAX_KEY_ID_BYTES = 64;
/** RSA-4096; a symmetric wrap of a local KEK takes 40–72. */
export const MAX_WRAPPED_BYTES = 512;
/** KMS v1 stores the ciphertext behind a 16-bit length (k8s.io/apiserver envelope.go). */
export const MAX_ENVELOPE_BYTES = 65_535;
/** All fields of the header that have a fixed length: magic, version, suite, key id length, wrapped length. */
export const FIXED_HEADER_BYTES = 7;
/** What fits into an envelope with the longest key id and the longest wrapped local KEK. */
export const MAX_PLAINTEXT_BYTES =
  MAX_ENVELOPE_BYTES - FIXED_HEADER_BYTES - MAX_KEY_ID_BYTES - MAX_WRAPPED_BYTES - NONCE_BYTES - TAG_BYTES;
