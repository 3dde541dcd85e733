import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** What decides where cryptography is fast. */
export interface Host {
  readonly cores: number;
  /** Whether the processor does AES itself, as all but a few small ARM ones do. */
  readonly aesInstructions: boolean;
}

export function thisHost(): Host {
  return { cores: availableParallelism(), aesInstructions: hasAes(cpuInfo()) };
}

/** @param cpuInfo - /proc/cpuinfo of x86 or ARM; other processors name no such feature and have it */
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
