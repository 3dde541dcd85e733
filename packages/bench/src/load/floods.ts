import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import type { LoadResult } from './load.ts';
import { teapotBench } from './teapot-bench.ts';

/** Floods of peers/floods.go: its name there, and what one tenant does. */
export const FLOODS = {
  status: 'Status, not waiting for answers',
  decrypt: 'Decrypts on 10 connections, not waiting for answers',
  'decrypt-100': 'the same on 100 connections',
  'decrypt-reset': 'Decrypt, reset at once',
  trailers: 'requests that end with trailers',
  head: 'HEAD requests',
  describe: 'Describe',
  'unknown-method': 'an unknown method',
  'tiny-data': 'Decrypts in DATA frames of one byte',
  'rapid-reset': 'HEADERS and RST_STREAM',
  'content-type': 'another content-type',
  'timeout-1n': 'Decrypts with grpc-timeout 1n',
  'empty-messages': 'empty messages in unary calls, 18 connections',
  'window-0': 'v1 Encrypts of 16 kB with window 0, 3 connections',
  unfinished: 'messages that never end, 3 connections',
  compressed: 'messages with the compressed flag',
  'left-open': 'open HEADERS, GOAWAY, DATA on another stream, close',
  'half-prefaces': '128 half prefaces',
  connections: 'a connection for each Status',
  'late-data': 'DATA frames of one byte for an answered call, 100 connections',
} as const;
export type Flood = keyof typeof FLOODS;

/** What a flood sent and got. peers/flood.go declares the same type. */
export interface FloodCounts {
  readonly connections: number;
  /** Connections that could not be opened. */
  readonly refused: number;
  readonly streams: number;
  readonly bytes: number;
  /** Streams that the server has ended, with a status or a reset. */
  readonly answers: number;
  /** Connections that the server has ended with a reason. */
  readonly goAways: number;
}

/** What quiet neighbours saw. peers/neighbours.go declares the same type. */
export interface NeighboursResult {
  readonly calls: number;
  /** Failed calls by gRPC status. Their latency counts too. */
  readonly failed: Readonly<Record<string, number>>;
  readonly latencyUs: LoadResult['latencyUs'];
}

/** Floods a socket for some seconds. Resolves when the flood has begun. */
export async function startFlood(kind: Flood, socket: string, seconds: number): Promise<{ end: Promise<FloodCounts> }> {
  const args = ['flood', '--kind', kind, '--socket', socket, '--for', `${seconds}s`];
  const flood = spawn(teapotBench(), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const output = text(flood.stdout);
  const exited = once(flood, 'exit') as Promise<[number | null]>;
  await Promise.race([once(flood.stdout, 'data'), exited]);
  const end = async (): Promise<FloodCounts> => {
    const [[code], lines] = await Promise.all([exited, output]);
    if (code !== 0) throw new Error(`teapot-bench flood --kind ${kind} ended with ${code}`);
    return JSON.parse(lines.slice(lines.indexOf('\n'))) as FloodCounts;
  };
  return { end: end() };
}

/**
 * Lets a quiet client of each socket call for some seconds: Status and Decrypt by turns, every 50 ms.
 *
 * @param timeoutSeconds - deadline of each call; the default is that of kube-apiserver
 */
export async function runNeighbours(
  sockets: readonly string[],
  seconds: number,
  timeoutSeconds = 3,
): Promise<NeighboursResult> {
  const args = [
    'neighbours',
    '--sockets',
    sockets.join(','),
    '--for',
    `${seconds}s`,
    '--timeout',
    `${timeoutSeconds}s`,
  ];
  const { stdout } = await promisify(execFile)(teapotBench(), args);
  return JSON.parse(stdout) as NeighboursResult;
}
