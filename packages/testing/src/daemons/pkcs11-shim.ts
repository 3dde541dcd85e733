import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, readSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { missing } from './token.ts';
import type { Token } from './token.ts';

const SOURCES = join(import.meta.dirname, '../../pkcs11');

/** The functions in the order of CK_FUNCTION_LIST, which the C source has too. */
const FUNCTIONS = [...readFileSync(join(SOURCES, 'shim.c'), 'utf8').matchAll(/\bX\((\w+), \d\)/g)].map(
  ([, name]) => `C_${name!}`,
);
/** The orders that are about calls, of which it is counted how often they took effect. */
const COUNTED = /^(latency|fail|fail-after|hang|segfault|random) /;
/** In 64-bit words: `struct shared` of the C source. */
const GENERATION = FUNCTIONS.length;
const FIRED = GENERATION + 1;
const WORDS = FIRED + 64;

/**
 * A token behind a PKCS#11 module that counts calls and misbehaves on order: the orders are in
 * `packages/testing/pkcs11/README.md`. Both work over all processes that use it, at once and one after the other.
 */
export class Shim implements Token {
  readonly env: Readonly<Record<string, string>>;
  readonly module: string;
  readonly label: string;
  readonly pin: string;
  readonly pinFile: string;
  readonly directory: string;
  readonly #control: string;
  readonly #counters: string;
  #orders: readonly string[] = [];
  #generation = 0;

  private constructor(token: Token) {
    this.label = token.label;
    this.pin = token.pin;
    this.pinFile = token.pinFile;
    this.directory = join(token.directory, 'shim');
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    this.#control = join(this.directory, 'control');
    this.#counters = join(this.directory, 'counters');
    this.module = execFileSync('bash', [join(SOURCES, 'build.sh')], { encoding: 'utf8' }).trim();
    this.env = {
      ...token.env,
      TEAPOT_SHIM_MODULE: token.module,
      TEAPOT_SHIM_CONTROL: this.#control,
      TEAPOT_SHIM_COUNTERS: this.#counters,
    };
    writeFileSync(this.#counters, Buffer.alloc(WORDS * 8), { mode: 0o600 });
    this.clear();
  }

  /** What a test lacks for it, and how to get that; see {@link missing}. */
  static missing(): string | undefined {
    return missing([], ['gcc']);
  }

  /** Puts a shim, compiled where it must be, before the module of a token. There is one for a token at a time. */
  static over(token: Token): Shim {
    return new Shim(token);
  }

  /**
   * Replaces all orders; each process obeys from its next call on.
   *
   * @throws Error for a function that PKCS#11 does not have. A process that reads any other wrong order aborts.
   */
  orders(...lines: string[]): void {
    for (const [name] of lines.join('\n').matchAll(/\bC_\w+/g)) indexOf(name);
    writeFileSync(`${this.#control}.new`, lines.map((line) => `${line}\n`).join(''), { mode: 0o600 });
    renameSync(`${this.#control}.new`, this.#control);
    this.#orders = lines.filter((line) => COUNTED.test(line));
    this.#write(GENERATION, BigInt(++this.#generation));
  }

  /** No orders from now on. What hangs goes on hanging. */
  clear(): void {
    this.orders();
  }

  /** How often a function, such as `C_Decrypt`, has been called, failed calls and hanging ones among them. */
  calls(name: string): number {
    return Number(this.#read()[indexOf(name)]);
  }

  /** All functions that have been called, with how often. */
  snapshot(): Record<string, number> {
    const words = this.#read();
    return Object.fromEntries(
      FUNCTIONS.map((name, index) => [name, Number(words[index])] as const).filter(([, calls]) => calls > 0),
    );
  }

  /** How often an order of the present ones, given as it was to {@link orders}, has taken effect. */
  fired(order: string): number {
    const index = this.#orders.indexOf(order);
    if (index < 0) throw new Error(`no such order: ${order}`);
    const word = this.#read()[FIRED + index]!;
    return word >> 32n === BigInt(this.#generation) ? Number(word & 0xffff_ffffn) : 0;
  }

  /** Counts calls from zero again; the orders stay, with what they have left. */
  resetCounters(): void {
    for (const index of FUNCTIONS.keys()) this.#write(index, 0n);
  }

  #read(): BigUint64Array {
    const words = new BigUint64Array(WORDS);
    const file = openSync(this.#counters, 'r');
    readSync(file, words, 0, words.byteLength, 0);
    closeSync(file);
    return words;
  }

  #write(index: number, value: bigint): void {
    const file = openSync(this.#counters, 'r+');
    writeSync(file, new BigUint64Array([value]), 0, 8, index * 8);
    closeSync(file);
  }
}

function indexOf(name: string): number {
  const index = FUNCTIONS.indexOf(name);
  if (index < 0) throw new Error(`PKCS#11 has no function ${name}`);
  return index;
}
