import type { TokenIdentity } from '../../src/stores/pkcs11/pin-ledger.ts';

export const TOKEN: TokenIdentity = {
  label: 'teapot',
  serial: '0123456789abcdef',
  manufacturer: 'SoftHSM project',
  model: 'SoftHSM v2',
};
