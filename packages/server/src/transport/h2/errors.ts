/** HTTP/2 error codes (RFC 9113 §7), as far as this server sends them. */
export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;
export type ErrorCodeName = keyof typeof ErrorCode;

/**
 * A violation of the protocol. It ends the connection, also where RFC 9113 asks for a stream error only (§5.4.1 allows that),
 * so no client can make the server reset streams (CVE-2025-8671).
 */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  readonly code: ErrorCodeName;

  /** @param message - a fixed text: it is sent to the client as GOAWAY's debug data */
  constructor(code: ErrorCodeName, message: string) {
    super(message);
    this.code = code;
  }
}
