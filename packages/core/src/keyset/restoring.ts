/**
 * What to do about a keyset, or a key, that is gone or damaged: look, restore, and nothing that destroys (design D15). `doctor` puts in the
 * names of configuration and instance, and the commands for the key store: nothing is copied over what is there.
 */
const IMPORT = 'from another node, or from the backup: teapot-kms keys import BACKUP --config FILE --instance NAME';

/** The store was read, and has neither a manifest nor keys. */
export const RESTORE_KEYSET = `restore the keyset ${IMPORT}`;

/** The same, where a volume can be missing. */
export const MOUNT_OR_RESTORE = `mount the volume of the keyset if it is not mounted; otherwise ${RESTORE_KEYSET}`;

/** The store has keys, and no manifest: whoever made a new keyset there would think that nothing was lost. */
export const RESTORE_LOST_MANIFEST = `restore the manifest of these keys ${IMPORT}`;

/** The manifest is whole, and one of its keys is not. */
export const RESTORE_KEYS = `restore the keys ${IMPORT}`;

/** A key of version 1 is not the one in memory. Nothing shows that it is a wrong one, so an import would leave it. */
export const restoreExchanged = (keyId: string): string =>
  `move key ${keyId} aside, and ${RESTORE_KEYS}. Only if the key here is the right one, and "teapot-kms status" shows no decrypts for it: restart the plugin`;

/** A key that a token keeps: nothing of it is outside. */
export const RESTORE_IN_TOKEN = 'restore the key in the token from its backup; do not make a new one under this id';

/** The manifest cannot be read. A damaged one is of use to whoever looks for the cause. */
export const RESTORE_MANIFEST = `move the damaged manifest aside, and ${RESTORE_KEYSET}`;

/** Another keyset than the one in use. It may be somebody's. */
export const RESTORE_NEWEST = `compare "teapot-kms keys list --config FILE --instance NAME" on all nodes. Move the keyset here aside, and ${RESTORE_KEYSET}. Only if the keyset here is the right one: teapot-kms keys confirm --config FILE --instance NAME`;

/** A key that the manifest does not list: nothing shows that no data needs it. @param what - names it */
export const keepUnlisted = (what: string): string =>
  `keep ${what}, and compare the manifest with the other nodes and the backup: a "keys" command was killed, or the manifest is an older one`;
