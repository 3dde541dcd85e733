import { CallLog, Metrics, toHandler, v2, v2Endpoints } from '@teapot-kms/server/internal';
import type { Call, CallObserver, Handler } from '@teapot-kms/server/internal';
import { createLogger } from '@teapot-kms/server';
import type { ReadyService } from './material.ts';
import { patient, plaintexts } from './material.ts';

const UID = '6a7c1f0e-2f4a-4b0e-9a57-2b8f0c1d2e3f';

export const call: Call = { signal: patient.signal, connection: {} };

/** Creates the handlers of an instance: codec, service, metrics and log, without the transport. */
export function handlers({ service }: ReadyService): { readonly encrypt: Handler; readonly decrypt: Handler } {
  const metrics = new Metrics(() => []);
  const callLog = new CallLog(createLogger('info').child({ instance: 'bench' }));
  let inFlight = 0;
  const observer: CallObserver = {
    began: () => inFlight++,
    ended: (record) => {
      inFlight--;
      metrics.called('bench', record);
      callLog.write(record);
    },
  };
  const [, encrypt, decrypt] = v2Endpoints(service, 'v2').map((endpoint) => toHandler(endpoint, observer));
  return { encrypt: encrypt!, decrypt: decrypt! };
}

export function encryptRequests(): Buffer[] {
  return plaintexts.map((plaintext) => v2.EncryptRequest.encode({ plaintext, uid: UID }));
}

export function decryptRequests({ messages }: ReadyService): Buffer[] {
  return messages.map(({ ciphertext, keyId }) => v2.DecryptRequest.encode({ ciphertext, uid: UID, key_id: keyId }));
}
