import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pkcs11js from 'pkcs11js';
import type { Handle, PKCS11, Template } from 'pkcs11js';
import * as assert from 'uvu/assert';
import type { Token } from '../../src/daemons/index.ts';

/** Creates a directory whose path is short enough for a Unix socket. It is removed when the process exits. */
export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'teapot-rig-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A module, loaded and initialised in this process, and the slot of its token. */
export interface Loaded {
  readonly p11: PKCS11;
  readonly slot: Handle;
}

export function load(token: Pick<Token, 'env' | 'module' | 'label'>): Loaded {
  Object.assign(process.env, token.env);
  const p11 = new pkcs11js.PKCS11();
  p11.load(token.module);
  p11.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  return { p11, slot: slotOf(p11, token.label) };
}

export function slotOf(p11: PKCS11, label: string): Handle {
  const slot = p11.C_GetSlotList(true).find((candidate) => p11.C_GetTokenInfo(candidate).label.trimEnd() === label);
  if (!slot) throw new Error(`no slot has a token with the label ${label}`);
  return slot;
}

export function openSession({ p11, slot }: Loaded): Handle {
  return p11.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
}

/** Runs `use` with a new session and closes the session. */
export function inSession<T>(loaded: Loaded, use: (session: Handle) => T): T {
  const session = openSession(loaded);
  try {
    return use(session);
  } finally {
    loaded.p11.C_CloseSession(session);
  }
}

/** Returns the PKCS#11 return code of a call. */
export function ckr(call: () => unknown): number {
  try {
    call();
    return pkcs11js.CKR_OK;
  } catch (error) {
    if (error instanceof pkcs11js.Pkcs11Error) return error.code;
    throw error;
  }
}

/** @throws Assertion if the return code of `call` is not `code` */
export function assertReturns(code: number, call: () => unknown): void {
  assert.is(ckr(call), code);
}

export function find({ p11 }: Loaded, session: Handle, template: Template): Handle[] {
  p11.C_FindObjectsInit(session, template);
  try {
    return p11.C_FindObjects(session, 100);
  } finally {
    p11.C_FindObjectsFinal(session);
  }
}
