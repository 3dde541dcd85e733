import { isAbsolute } from 'node:path';
import * as z from 'zod';
import { duration } from '../../util/duration.ts';
import { localKekSettings } from '../../service/local-kek/settings.ts';
import { mechanismNames } from './token-host/mechanism-name.ts';

const PARAMETERS = 'expected 1 to 4096 printable ASCII characters';

const directory = z.string().refine(isAbsolute, 'expected an absolute path');

export const pkcs11Settings = z.strictObject({
  keyset: directory.describe(
    'the directory with keyset.yaml, which says what versions of the key there are; the same on every replica, and no secret',
  ),
  stateDirectory: directory
    .default('/var/lib/teapot-kms/pkcs11')
    .describe(
      'where this host records refused PINs and uses of keys; not shared with other hosts, and kept over restarts',
    ),
  mechanism: z
    .enum(['auto' as const, ...mechanismNames])
    .default('auto')
    .describe('what wraps local KEKs; "auto" chooses the best that works with the key'),
  sessions: z.int().min(1).max(64).default(8).describe('calls that the token may do at a time'),
  libraryParameters: z
    .string()
    .min(1, PARAMETERS)
    .max(4096, PARAMETERS)
    .regex(/^[\x20-\x7e]*$/, PARAMETERS)
    .optional()
    .describe('what the module gets as LibraryParameters in C_Initialize; NSS needs them'),
  callTimeout: duration(100)
    // Half of what kube-apiserver waits. The other half is for a new process and the second try.
    .prefault('1500ms')
    .describe('how long one call of the module may take before it counts as hung, and its process is killed'),
  ...localKekSettings,
});

export type Pkcs11Settings = z.output<typeof pkcs11Settings>;
