/** A shorter text is no secret, and stands in many places by chance. */
const MIN_CHARS = 4;

/**
 * Overwrites secrets in the answer of a server that repeats what it was sent, before a piece of it gets into an error or a log. In place, and
 * byte for byte, so that lengths in a protobuf message stay right.
 * @param secrets - as text; their forms in JSON, a URL and HTML are found too
 */
export function redact(answer: Buffer, secrets: readonly (string | undefined)[]): void {
  const texts = secrets.filter((secret) => secret !== undefined && secret.length >= MIN_CHARS) as string[];
  overwrite(
    answer,
    [...new Set(texts.flatMap(formsOf))].map((form) => Buffer.from(form)),
  );
}

/** {@link redact} for bytes that no text may hold, such as a PIN, however short. Their forms in hexadecimal are found too. */
export function redactBytes(answer: Buffer, secrets: readonly Buffer[]): void {
  const forms = secrets.flatMap(hexFormsOf);
  overwrite(answer, forms);
  for (const form of forms) form.fill(0);
}

function overwrite(answer: Buffer, forms: readonly Buffer[]): void {
  // A long one first: another may be a part of it.
  for (const wanted of [...forms].sort((a, b) => b.length - a.length)) {
    for (let at = answer.indexOf(wanted); at >= 0; at = answer.indexOf(wanted, at + wanted.length)) {
      answer.fill('*', at, at + wanted.length);
    }
  }
}

const HTML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function formsOf(secret: string): string[] {
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret.toWellFormed()),
    secret.replace(/[&<>"']/g, (one) => HTML[one]!),
  ];
}

const DIGITS = ['0123456789abcdef', '0123456789ABCDEF'].map((digits) => Buffer.from(digits));

/** The bytes themselves, and as a dump shows them: `31323334`, `31 32 33 34`, `31:32:33:34`, in both cases. */
function hexFormsOf(secret: Buffer): Buffer[] {
  const dumps = DIGITS.flatMap((digits) =>
    ['', ' ', ':'].map((separator) => {
      const width = 2 + separator.length;
      const dump = Buffer.alloc(secret.length * width - separator.length, separator || 0);
      secret.forEach((byte, index) => {
        dump[index * width] = digits[byte >> 4]!;
        dump[index * width + 1] = digits[byte & 15]!;
      });
      return dump;
    }),
  );
  return [Buffer.from(secret), ...dumps];
}
