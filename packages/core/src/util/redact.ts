/** A shorter text is no secret, and stands in many places by chance. */
const MIN_CHARS = 4;

/**
 * Overwrites secrets in the answer of a server that repeats what it was sent, before a piece of it gets into an error or a log. In place, and
 * byte for byte, so that lengths in a protobuf message stay right.
 * @param secrets - as text; their forms in JSON, a URL and HTML are found too
 */
export function redact(answer: Buffer, secrets: readonly (string | undefined)[]): void {
  const texts = secrets.filter((secret) => secret !== undefined && secret.length >= MIN_CHARS) as string[];
  const forms = new Set(texts.flatMap(formsOf));
  // A long one first: another may be a part of it.
  for (const form of [...forms].sort((a, b) => b.length - a.length)) {
    const wanted = Buffer.from(form);
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
