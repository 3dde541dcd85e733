import { KmsError } from '@teapot-kms/core';
import { armor, Decrypter, Encrypter } from 'age-encryption';

/** Who can open a backup: the holders of identities, or whoever knows the passphrase. */
export type Lock = { readonly recipients: readonly string[] } | { readonly passphrase: string };

/** What opens a backup: the lines of an age identity file, or a passphrase. */
export type Opener = { readonly identities: readonly string[] } | { readonly passphrase: string };

/**
 * Encrypts in the age format (https://age-encryption.org/v1), which `age -d` opens too.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_RULE` for a recipient that is none
 */
export async function lock(plaintext: Uint8Array, how: Lock): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  if ('passphrase' in how) encrypter.setPassphrase(how.passphrase);
  else for (const recipient of how.recipients) add(() => encrypter.addRecipient(recipient), recipient);
  return encrypter.encrypt(plaintext);
}

/**
 * Undoes {@link lock}, also for the armored form.
 * @throws {@link KmsError} `ERR_KMS_KEYSET_INVALID` if the file is damaged, or none of the openers fits
 */
export async function unlock(file: Uint8Array, how: Opener): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  if ('passphrase' in how) decrypter.addPassphrase(how.passphrase);
  else for (const identity of how.identities) add(() => decrypter.addIdentity(identity), 'a line of the identity file');
  try {
    return await decrypter.decrypt(isArmored(file) ? armor.decode(Buffer.from(file).toString('latin1')) : file);
  } catch (cause) {
    throw new KmsError('ERR_KMS_KEYSET_INVALID', `the backup does not open: ${(cause as Error).message}`, {
      cause,
      remedy: 'use the identity or the passphrase that it was made for; or another copy, if this one is damaged',
    });
  }
}

const isArmored = (file: Uint8Array): boolean =>
  Buffer.from(file.subarray(0, 14)).toString('latin1') === '-----BEGIN AGE';

/** @param shown - what an error may show: a recipient is public, an identity is not */
function add(work: () => void, shown: string): void {
  try {
    work();
  } catch (cause) {
    // The library's message may contain the text.
    throw new KmsError('ERR_KMS_KEYSET_RULE', `${shown.slice(0, 100)}: not an age key`, {
      cause: cause instanceof Error ? cause.name : undefined,
      remedy: 'expected "age1..." for a recipient, and "AGE-SECRET-KEY-1..." in an identity file',
    });
  }
}
