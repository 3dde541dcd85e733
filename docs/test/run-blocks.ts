import { fencedBlocks } from '@teapot-kms/testing';
import { freePort, launcher } from '@teapot-kms/testing/daemons';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';

export const root = join(import.meta.dirname, '../..');
const SYSTEM_DIRECTORIES = ['/var/lib/teapot-kms', '/etc/teapot-kms', '/run/teapot-kms'];

/** The commands of a document that a test runs: its blocks marked ```sh run. */
export function runnableBlocks(text: string): string[] {
  return fencedBlocks(text)
    .filter(({ info }) => info === 'sh run')
    .map((block) => block.text);
}

/** Documents show a fixed port for health and metrics, which may be taken. */
function withFreePort(script: string, port: number): string {
  const [, shown] = /http: \{ port: (\d+) \}/.exec(script) ?? [];
  return shown === undefined ? script : script.replaceAll(shown, String(port));
}

/**
 * Runs blocks in order, in one shell: with scratch directories instead of the system's, a free port instead of the one
 * shown, and `teapot-kms` from this checkout.
 * @param prepare - makes what must be there before, in the scratch directory
 */
export async function runBlocks(
  document: string,
  blocks: readonly string[],
  prepare: (scratch: string) => void | Promise<void> = () => undefined,
): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'teapot-docs-'));
  const cli = join(scratch, 'bin/teapot-kms');
  mkdirSync(dirname(cli));
  symlinkSync(launcher(), cli);
  let script = withFreePort(
    `set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n${blocks.join('\n')}`,
    await freePort(),
  );
  for (const directory of SYSTEM_DIRECTORIES) {
    mkdirSync(join(scratch, directory), { recursive: true, mode: 0o700 });
    script = script.replaceAll(directory, join(scratch, directory));
  }
  await prepare(scratch);
  const env = { ...process.env, PATH: `${join(scratch, 'bin')}:${process.env['PATH'] ?? ''}` };
  // Not in this thread: what the script talks to may be in this process.
  const child = spawn('bash', ['-c', script], { env, timeout: 600_000 });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  assert.is(status, 0, `${document}\n${output}`);
  rmSync(scratch, { recursive: true, force: true });
}
