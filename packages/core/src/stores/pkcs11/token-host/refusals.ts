import { KmsError } from '../../../errors.ts';
import { TokenFailure } from './protocol.ts';

/** Of a call that no process got, since none runs. @param why - the last one ended */
export const notBegun = (why: string, waitMs: number): TokenFailure =>
  new TokenFailure('not-begun', `the token host: ${why}; it can be tried again in ${Math.ceil(waitMs / 1_000)} s`);

/** Of a call that its caller gave up before the process got it. */
export const NOT_SENT = new TokenFailure('not-begun', 'the call was not sent');

export const closed = (cause?: TokenFailure): KmsError =>
  new KmsError('ERR_KMS_CLOSED', 'the token host was closed', { cause });
