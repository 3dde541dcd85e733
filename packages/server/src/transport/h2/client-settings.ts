import { ConnectionError } from './errors.ts';
import { MAX_FRAME_BYTES, MAX_SETTINGS_ENTRIES } from './limits.ts';

/** Identifiers of RFC 9113 §6.5.2. */
export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

export const MAX_WINDOW = 2 ** 31 - 1;
export const DEFAULT_WINDOW = 65_535;
const ENTRY_BYTES = 6;

/**
 * Reads the payload of a SETTINGS frame and passes on, in order, what matters to a server that neither pushes nor sends frames
 * above the default size.
 * @throws {@link ConnectionError} for a value that RFC 9113 §6.5.2 does not allow
 */
export function readSettings(
  bytes: Buffer,
  start: number,
  end: number,
  apply: (setting: number, value: number) => void,
): void {
  const length = end - start;
  if (length % ENTRY_BYTES !== 0) throw new ConnectionError('FRAME_SIZE_ERROR', 'SETTINGS of a wrong length');
  if (length / ENTRY_BYTES > MAX_SETTINGS_ENTRIES) throw new ConnectionError('ENHANCE_YOUR_CALM', 'too many settings');
  for (let at = start; at < end; at += ENTRY_BYTES) {
    const setting = bytes.readUInt16BE(at);
    const value = bytes.readUInt32BE(at + 2);
    if (setting === Setting.ENABLE_PUSH && value > 1)
      throw new ConnectionError('PROTOCOL_ERROR', 'ENABLE_PUSH is neither 0 nor 1');
    if (setting === Setting.MAX_FRAME_SIZE && (value < MAX_FRAME_BYTES || value > 2 ** 24 - 1))
      throw new ConnectionError('PROTOCOL_ERROR', 'MAX_FRAME_SIZE is out of range');
    if (setting === Setting.INITIAL_WINDOW_SIZE && value > MAX_WINDOW)
      throw new ConnectionError('FLOW_CONTROL_ERROR', 'INITIAL_WINDOW_SIZE is out of range');
    apply(setting, value);
  }
}
