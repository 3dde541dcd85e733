import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** Properties of the host that decide where cryptography is fast. */
export interface Host {
  readonly cores: number;
  /** Whether the processor has AES instructions. All but a few small ARM processors have. */
  readonly aesInstructions: boolean;
}

export function thisHost(): Host {
  return { cores: availableParallelism(), aesInstructions: hasAes(cpuInfo()) };
}

/** @param cpuInfo - the text of /proc/cpuinfo. Processors other than x86 and ARM list no such feature, and count as having it */
export function hasAes(cpuInfo: string): boolean {
  const [features] = /^(?:flags|Features)\s*:.*$/m.exec(cpuInfo) ?? [];
  return features === undefined || /\saes(?:\s|$)/.test(features);
}

function cpuInfo(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'latin1');
  } catch {
    return '';
  }
}
