import { KmsError } from '@teapot-kms/core';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const MAX_OUTPUT_BYTES = 1024 * 1024;

/**
 * Runs a command that an option gives.
 * @returns what it printed
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` if it fails, or takes longer than `timeoutMs`
 */
export async function runShell(command: string, timeoutMs: number): Promise<string> {
  try {
    const limits = { timeout: timeoutMs, maxBuffer: MAX_OUTPUT_BYTES };
    return (await promisify(execFile)('/bin/sh', ['-c', command], limits)).stdout;
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string };
    throw new KmsError('ERR_KMS_KEYSET_RULE', `${command}: ${stderr.trim() || message}`, { cause: error });
  }
}
