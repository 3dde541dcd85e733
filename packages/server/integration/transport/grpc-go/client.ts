import { cacheDirectory, findGo } from '@teapot-kms/testing/daemons';
import { execFile, execFileSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SOURCES = import.meta.dirname;

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
    this.#binary = build(version);
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

function build(version: string): string {
  const hash = createHash('sha256');
  for (const name of ['main.go', `v${version}.mod`, `v${version}.sum`]) hash.update(readFileSync(join(SOURCES, name)));
  const directory = join(cacheDirectory, 'grpc-go', `${version}-${hash.digest('hex').slice(0, 16)}`);
  const binary = join(directory, 'client');
  if (existsSync(binary)) return binary;
  mkdirSync(directory, { recursive: true });
  const unfinished = `${binary}.${process.pid}`;
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', GOWORK: 'off' };
  const args = ['build', `-modfile=v${version}.mod`, '-trimpath', '-o', unfinished, '.'];
  try {
    execFileSync(findGo('1.24.0'), args, { cwd: SOURCES, env, stdio: 'inherit' });
    renameSync(unfinished, binary);
  } finally {
    rmSync(unfinished, { force: true });
  }
  return binary;
}
