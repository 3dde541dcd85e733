import { Composer, isMap, isScalar, Lexer, LineCounter, Parser, visit, YAMLParseError } from 'yaml';
import type { CST, Document, DocumentOptions, ParseOptions, SchemaOptions } from 'yaml';

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

/**
 * Signs, names, values and pieces of white space in a document. An instance of a configuration has about 40, a key of a manifest 60. So many
 * take about 30 ms.
 */
const MAX_TOKENS = 15_000;
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

type ComposerOptions = DocumentOptions & ParseOptions & SchemaOptions;

/**
 * Reads one YAML document in time that is linear in its length. The package `yaml` is not: it compares each key of a map with all others, and
 * recurses. So the tokens are counted on their way to the parser, and duplicate keys are looked for here.
 * @param maxTokens - signs, names, values and pieces of white space that are read. Default 15,000
 */
export function readYaml(text: string, options: ComposerOptions, maxTokens = MAX_TOKENS): YamlDocument {
  const lines = new LineCounter();
  const problems: YamlProblem[] = [];
  const report = (at: number, message: string) => problems.push({ line: lines.linePos(at).line, path: '', message });
  let document: Document;
  try {
    document = parse(text, { ...options, uniqueKeys: false }, lines, maxTokens);
  } catch (error) {
    if (error instanceof LimitExceeded) return { problems: [error.problem], exceeded: true };
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

class LimitExceeded extends Error {
  readonly problem: YamlProblem;

  constructor(problem: YamlProblem) {
    super(problem.message);
    this.problem = problem;
  }
}

/** As `parseDocument` of the package, without its pretty errors, which take seconds for a file with thousands of errors. */
function parse(text: string, options: ComposerOptions, lines: LineCounter, maxTokens: number): Document {
  const composer = new Composer(options);
  let document: Document | undefined;
  for (const found of composer.compose(parsed(text, lines, maxTokens), true, text.length)) {
    if (document) {
      const [start, end] = found.range;
      document.errors.push(new YAMLParseError([start, end], 'MULTIPLE_DOCS', 'Source contains multiple documents'));
      break;
    }
    document = found;
  }
  return document!;
}

function* parsed(text: string, lines: LineCounter, maxTokens: number): Generator<CST.Token> {
  const parser = new Parser(lines.addNewLine);
  lines.addNewLine(0);
  for (const token of limited(text, maxTokens)) yield* parser.next(token);
  yield* parser.end();
}

/** The tokens of a text, while it keeps the limits. @throws {@link LimitExceeded} */
function* limited(text: string, maxTokens: number): Generator<string> {
  let [tokens, line, flows, blocks, colons, atLineStart] = [0, 1, 0, 0, 0, true];
  const exceeded = (message: string) => new LimitExceeded({ line, path: '', message });
  for (const token of new Lexer().lex(text)) {
    if (++tokens > maxTokens) throw exceeded(`expected at most ${maxTokens} signs, names and values, found more`);
    const isBlank = /^[ \t]*$/.test(token);
    if (atLineStart && isBlank && token.length > MAX_INDENT) {
      throw exceeded(`expected lines indented by at most ${MAX_INDENT} columns, found ${token.length}`);
    }
    if (token === '[' || token === '{') flows++;
    else if (token === ']' || token === '}') flows = Math.max(0, flows - 1);
    else if (flows === 0 && (token === '-' || token === '?')) blocks++;
    // One after the other: a line of JSON has many with names between them.
    colons = token === ':' ? colons + 1 : isBlank ? colons : 0;
    if (flows > MAX_DEPTH || blocks > MAX_DEPTH || colons > MAX_DEPTH) {
      throw exceeded(`expected collections nested at most ${MAX_DEPTH} deep, found deeper ones`);
    }
    yield token;
    atLineStart = token.endsWith('\n');
    if (!atLineStart) continue;
    blocks = 0;
    line += token.length <= 2 ? 1 : token.split('\n').length - 1;
  }
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
