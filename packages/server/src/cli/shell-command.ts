import { KmsError, safeText, systemClock } from '@teapot-kms/core';
import type { Clock } from '@teapot-kms/core';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const MAX_OUTPUT_BYTES = 1024 * 1024;
const REMEDY = 'run that command yourself: it must end by itself, with exit code 0';

/**
 * Runs a command that an option gives. It keeps the terminal: ssh may ask for a password there.
 * @returns what it printed
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` if it fails, or takes longer than `timeoutMs`. Then nothing of it goes on
 */
export async function runShell(command: string, timeoutMs: number, clock: Clock = systemClock): Promise<string> {
  const failed = (reason: string, cause?: unknown): KmsError =>
    new KmsError('ERR_KMS_KEYSET_RULE', `${command}: ${reason}`, { cause, remedy: REMEDY });
  const running = promisify(execFile)('/bin/sh', ['-c', command], { maxBuffer: MAX_OUTPUT_BYTES });
  let cancel = (): void => undefined;
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(timeoutMs, () => {
      reject(failed(`no end within ${timeoutMs / 1_000} s`));
      if (running.child.pid !== undefined) killAll(running.child.pid);
    });
  });
  try {
    return (await Promise.race([running, late])).stdout;
  } catch (error) {
    if (error instanceof KmsError) throw error;
    const { stderr = '', message } = error as Error & { stderr?: string };
    throw failed(safeText(stderr.trim() || message, 2_000), error);
  } finally {
    cancel();
  }
}

/** Ends a process and those below it. It is stopped first, so that a shell cannot start its next command. */
function killAll(pid: number): void {
  if (!signal(pid, 'SIGSTOP')) return;
  const children = childrenOf(pid);
  signal(pid, 'SIGKILL');
  for (const child of children) killAll(child);
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    // It has ended.
    return false;
  }
}

/** See proc_pid_task_children(5). */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}
