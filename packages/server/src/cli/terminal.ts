import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import { UsageError } from './exit-codes.ts';

/** Whether somebody can answer questions. */
export const hasTerminal = (): boolean => process.stdin.isTTY;

/** Asks that a word is typed before something that cannot be undone. @throws {@link UsageError} for anything else */
export async function typed(word: string, question: string): Promise<void> {
  const answer = await ask(`${question} Type ${word}: `, process.stderr);
  if (answer.trim() !== word) throw new UsageError(`expected ${word}; nothing is changed`);
}

/** Asks for a secret, which the terminal does not show. @throws {@link UsageError} without a terminal, or for an empty line */
export async function hidden(question: string): Promise<string> {
  if (!hasTerminal()) throw new UsageError(`nobody can answer: ${question}`);
  process.stderr.write(`${question}: `);
  const answer = await ask('', new Writable({ write: (_chunk, _encoding, done) => done() }));
  process.stderr.write('\n');
  if (answer === '') throw new UsageError(`${question}: expected a text`);
  return answer;
}

async function ask(question: string, output: NodeJS.WritableStream): Promise<string> {
  // Only as a terminal does it take over the echo.
  const terminal = createInterface({ input: process.stdin, output, terminal: true });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}
