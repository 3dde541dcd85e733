import { isMap, isScalar, Lexer, LineCounter, parseDocument, visit } from 'yaml';
import type { Document, DocumentOptions, ParseOptions, SchemaOptions } from 'yaml';

/** One problem in a YAML text, and where to correct it. */
export interface YamlProblem {
  /** 1-based. */
  readonly line: number;
  /** For example `instances[0].socket`; empty for the whole document. */
  readonly path: string;
  /** What was expected and what was found. */
  readonly message: string;
}

/** Most problems that are reported. In a file that is not YAML, every character may be one. */
export const MAX_PROBLEMS = 20;

/** Signs, names, values and pieces of white space in a document. An instance of a configuration has about 40, a key of a manifest 60. */
const MAX_TOKENS = 100_000;
/** Collections in collections. Deeper ones fill the stack. */
const MAX_DEPTH = 32;
/** Columns that a line may be indented by: each further collection needs one. */
const MAX_INDENT = 256;

export type YamlDocument =
  | {
      readonly document: Document;
      readonly lines: LineCounter;
      readonly problems?: undefined;
      readonly exceeded?: undefined;
    }
  | {
      readonly document?: undefined;
      readonly lines?: undefined;
      readonly problems: readonly YamlProblem[];
      /** A limit is exceeded. No message then repeats a piece of the text. */
      readonly exceeded: boolean;
    };

/**
 * Reads one YAML document in time that is linear in its length. The package `yaml` is not: it compares each key of a map with all others, and
 * recurses. So the tokens are counted first, which costs a tenth of the rest, and duplicate keys are looked for here.
 */
export function readYaml(text: string, options: DocumentOptions & ParseOptions & SchemaOptions): YamlDocument {
  const limit = exceededLimit(text);
  if (limit) return { problems: [limit], exceeded: true };
  const lines = new LineCounter();
  const problems: YamlProblem[] = [];
  const report = (at: number, message: string) => problems.push({ line: lines.linePos(at).line, path: '', message });
  let document: Document;
  try {
    // Pretty errors take seconds for a file with thousands of errors.
    document = parseDocument(text, { ...options, lineCounter: lines, uniqueKeys: false, prettyErrors: false });
  } catch {
    // Some of what is not YAML makes the parser itself fail.
    return { problems: [{ line: 1, path: '', message: 'expected YAML' }], exceeded: false };
  }
  for (const { pos, message } of document.errors.slice(0, MAX_PROBLEMS)) {
    // What follows a colon may be a piece of the text.
    report(pos[0], message.split('\n')[0]!.replace(/: .*$/, ''));
  }
  if (problems.length === 0) reportDuplicates(document, report);
  return problems.length > 0 ? { problems, exceeded: false } : { document, lines };
}

function exceededLimit(text: string): YamlProblem | undefined {
  let [tokens, line, flows, blocks, colons, atLineStart] = [0, 1, 0, 0, 0, true];
  const problem = (message: string): YamlProblem => ({ line, path: '', message });
  for (const token of new Lexer().lex(text)) {
    if (++tokens > MAX_TOKENS) return problem(`expected at most ${MAX_TOKENS} signs, names and values, found more`);
    const isBlank = /^[ \t]*$/.test(token);
    if (atLineStart && isBlank && token.length > MAX_INDENT) {
      return problem(`expected lines indented by at most ${MAX_INDENT} columns, found ${token.length}`);
    }
    if (token === '[' || token === '{') flows++;
    else if (token === ']' || token === '}') flows = Math.max(0, flows - 1);
    else if (flows === 0 && (token === '-' || token === '?')) blocks++;
    // One after the other: a line of JSON has many with names between them.
    colons = token === ':' ? colons + 1 : isBlank ? colons : 0;
    if (flows > MAX_DEPTH || blocks > MAX_DEPTH || colons > MAX_DEPTH) {
      return problem(`expected collections nested at most ${MAX_DEPTH} deep, found deeper ones`);
    }
    atLineStart = token.endsWith('\n');
    if (!atLineStart) continue;
    blocks = 0;
    line += token.length <= 2 ? 1 : token.split('\n').length - 1;
  }
  return undefined;
}

function reportDuplicates(document: Document, report: (at: number, message: string) => number): void {
  visit(document, {
    Map(_, map) {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        const name = isScalar(key) ? key.value : key;
        // A merge key may stand several times.
        if (seen.has(name) && name !== '<<' && report(keyStart(key), 'Map keys must be unique') >= MAX_PROBLEMS) {
          return visit.BREAK;
        }
        seen.add(name);
      }
      return undefined;
    },
  });
}

function keyStart(key: unknown): number {
  return (isScalar(key) || isMap(key) ? key.range?.[0] : undefined) ?? 0;
}
