import type { LineCounter } from 'yaml';
import type { Document } from 'yaml';
import type { z } from 'zod';
import { safeText } from './safe-text.ts';
import { shownValue } from './shown-value.ts';
import { MAX_PROBLEMS, readYaml } from './yaml-reader.ts';
import type { YamlProblem } from './yaml-reader.ts';

export type YamlResult<T> =
  | { readonly value: T; readonly problems?: undefined }
  | { readonly value?: undefined; readonly problems: readonly YamlProblem[] };

export type ShowValue = (value: unknown, path: readonly PropertyKey[]) => string;

/** Characters of a path in the document, and of a message. */
const MAX_PATH = 200;
const MAX_MESSAGE = 500;

/**
 * Parses `text` as one YAML 1.2 document and checks it against `schema`. Reports up to twenty problems, each with its line and safe to show. The
 * time is linear in the length of the text, see {@link readYaml}. Aliases are refused, because a few of them can expand to gigabytes.
 * @param show - what a problem says was found at a path. It decides what may be a secret
 * @param maxTokens - as for {@link readYaml}
 */
export function parseYaml<T>(
  text: string,
  schema: z.ZodType<T>,
  show: ShowValue = shownValue,
  maxTokens?: number,
): YamlResult<T> {
  const { document, lines, problems } = readYaml(text, { stringKeys: true, version: '1.2' }, maxTokens);
  if (problems) return { problems: problems.map(safeProblem) };
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch {
    return { problems: [{ line: 1, path: '', message: 'aliases (*name) are not allowed' }] };
  }
  const checked = schema.safeParse(value, { reportInput: true });
  if (checked.success) return { value: checked.data };
  const issues = checked.error.issues.slice(0, MAX_PROBLEMS);
  const found = issues.flatMap((issue) => problemsOf(issue, { document, lines, show })).slice(0, MAX_PROBLEMS);
  return { problems: found.map(safeProblem) };
}

/** Names and values in it come from the text. */
function safeProblem({ line, path, message }: YamlProblem): YamlProblem {
  return { line, path: safeText(path, MAX_PATH), message: safeText(message, MAX_MESSAGE) };
}

/** `FILE:LINE: PATH: MESSAGE`, one problem a line. */
export function formatProblems(file: string, problems: readonly YamlProblem[]): string {
  return problems
    .map(({ line, path, message }) => `${file}:${line}: ${path === '' ? '' : `${path}: `}${message}`)
    .join('\n');
}

interface Source {
  readonly document: Document;
  readonly lines: LineCounter;
  readonly show: ShowValue;
}

function problemsOf(issue: z.core.$ZodIssue, source: Source): YamlProblem[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, MAX_PROBLEMS).map((key) => ({
      line: lineOf([...issue.path, key], source),
      path: formatPath([...issue.path, key]),
      // Schemas may say which settings there are.
      message: issue.message.startsWith('Unrecognized') ? 'unknown setting' : issue.message,
    }));
  }
  if (issue.code === 'invalid_union' && issue.message === 'Invalid input') return problemsOfUnion(issue, source);
  return [{ line: lineOf(issue.path, source), path: formatPath(issue.path), message: describe(issue, source) }];
}

/** The problems of the alternative that is closest to the value: it fails at the deepest place, or in the fewest places. */
function problemsOfUnion(issue: z.core.$ZodIssueInvalidUnion, source: Source): YamlProblem[] {
  const depth = (issues: readonly z.core.$ZodIssue[]) =>
    Math.min(...issues.map((one) => one.path.length + (one.code === 'unrecognized_keys' ? 1 : 0)));
  const places = (issues: readonly z.core.$ZodIssue[]) =>
    issues.reduce((sum, one) => sum + (one.code === 'unrecognized_keys' ? one.keys.length : 1), 0);
  const [closest] = issue.errors.toSorted((a, b) => depth(b) - depth(a) || places(a) - places(b));
  if (closest && depth(closest) > 0) {
    return closest
      .slice(0, MAX_PROBLEMS)
      .flatMap((inner) => problemsOf({ ...inner, path: [...issue.path, ...inner.path] }, source));
  }
  const expected = issue.errors.flatMap(([first]) =>
    first ? [describe(first, source).replace(/, found .*$/s, '')] : [],
  );
  const message = `${expected.join(' or ').replaceAll('or expected ', 'or ')}, found ${source.show(issue.input, issue.path)}`;
  return [{ line: lineOf(issue.path, source), path: formatPath(issue.path), message }];
}

/** Schemas report `expected ...`. This adds what was found, unless the schema already reports it. */
function describe(issue: z.core.$ZodIssue, { show }: Source): string {
  const expected = issue.message
    .replace(/^Invalid input: (?=expected )/, '')
    .replace(/, received .*$/, '')
    .replace(/^(Invalid|Too) [^:]*: (?=expected )/, '')
    .replaceAll('"|"', '", "');
  if (/found /.test(expected) || !expected.startsWith('expected ')) return expected;
  return `${expected}, found ${show(inputOf(issue), issue.path)}`;
}

/** Where a field selects the alternative of a union, zod passes the whole map. */
function inputOf(issue: z.core.$ZodIssue): unknown {
  const { discriminator } = issue as { discriminator?: string };
  return discriminator === undefined ? issue.input : (issue.input as Record<string, unknown>)[discriminator];
}

/** The line of the deepest node on `path` that exists. For a missing setting, this is the line of its map. */
function lineOf(path: readonly PropertyKey[], { document, lines }: Source): number {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true);
    const range = (node as { range?: [number, number, number] | null } | undefined | null)?.range;
    if (range) return lines.linePos(range[0]).line;
  }
  return 1;
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}
