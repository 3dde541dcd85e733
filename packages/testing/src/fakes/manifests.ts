import type { Manifest } from '@teapot-kms/core';

const TIME = '2026-01-02T03:04:05.000Z';

/** A manifest of version 1, as somebody writes it by hand for a key that another tool made. */
export function version1Manifest(keyId: string): Manifest {
  const keys = [{ id: keyId, created: TIME, state: 'promoted', since: TIME } as const];
  return { formatVersion: 1, contextId: '0123456789abcdef0123456789abcdef', generation: 0, primary: keyId, keys };
}
