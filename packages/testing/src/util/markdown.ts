/** A block between fences, without the indentation of its list. */
export interface FencedBlock {
  /** What is behind the first fence: `sh run`, `yaml`. */
  readonly info: string;
  readonly text: string;
}

const FENCED = /^( *)```([^\n`]*)\n(.*?)^\1```$/gms;

/** The fenced blocks of a document, in order. */
export function fencedBlocks(markdown: string): FencedBlock[] {
  return [...markdown.matchAll(FENCED)].map(([, indent, info, text]) => ({
    info: info!.trim(),
    text: text!
      .split('\n')
      .map((line) => (line.startsWith(indent!) ? line.slice(indent!.length) : line.trimStart()))
      .join('\n'),
  }));
}

/** A document without its fenced blocks. */
export const withoutBlocks = (markdown: string): string => markdown.replaceAll(FENCED, '');
