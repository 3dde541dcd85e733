import { execFile } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { promisify } from 'node:util';
import { goProgram } from '../go-program.ts';

/** What became of the calls of one run, by gRPC status where they failed. */
export interface GrpcGoResult {
  readonly ok: number;
  readonly wrong: number;
  readonly failed: Readonly<Record<string, number>>;
}

/** The client of one grpc-go version, built into the cache when its sources have changed. */
export class GrpcGoClient {
  readonly #binary: string;
  readonly #socket: string;

  constructor(version: string, socket: string) {
    this.#binary = goProgram({
      name: `grpc-go/${version}`,
      sources: import.meta.dirname,
      files: ['main.go', `v${version}.mod`, `v${version}.sum`],
      args: [`-modfile=v${version}.mod`, '.'],
    });
    this.#socket = socket;
  }

  /** @param args - flags of main.go */
  async run(...args: readonly string[]): Promise<GrpcGoResult> {
    return this.#start(args).result;
  }

  /** Calls until it is stopped. */
  load(...args: readonly string[]): { stop(): Promise<GrpcGoResult> } {
    const { child, result } = this.#start(['-calls', '0', ...args]);
    return {
      stop() {
        child.stdin?.end();
        return result;
      },
    };
  }

  #start(args: readonly string[]): { child: ChildProcess; result: Promise<GrpcGoResult> } {
    const run = promisify(execFile)(this.#binary, ['-socket', this.#socket, ...args]);
    return { child: run.child, result: run.then(({ stdout }) => JSON.parse(stdout) as GrpcGoResult) };
  }
}
