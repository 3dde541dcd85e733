import { MAX_REQUEST_BYTES } from '../seam.ts';

/*
 * Every bound of the transport, with its reason. A client that exceeds one loses its own connection, never another's.
 */

/** Largest frame payload in bytes that either side sends: the protocol's default, which grpc-go never exceeds (RFC 9113 §4.2). */
export const MAX_FRAME_BYTES = 16_384;
/** Bytes before the message in a gRPC frame: the compressed flag and the length (grpc PROTOCOL-HTTP2). */
export const PREFIX_BYTES = 5;
/**
 * A stream's receive window in bytes. It holds the largest message, rounded up to 4 KiB, so a stream never needs an update
 * and a client that overruns it is in error.
 */
export const STREAM_WINDOW = Math.ceil((MAX_REQUEST_BYTES + PREFIX_BYTES + 1) / 4_096) * 4_096;
/** A connection's receive window in bytes. Credit goes back when half of it is used. */
export const CONNECTION_WINDOW = 2 ** 20;
/**
 * Bytes of requests that have arrived in part or whose handler runs, and of answers that wait for the client. When a connection has too
 * many, its newest call is refused: 300 calls of 64 KiB have fewer, and kube-apiserver's own have 32 bytes. When an instance or the
 * process has too many, the connection with the most is ended. The manifests in k8s/ give the process 256 MiB.
 */
export const MAX_CONNECTION_BYTES = 24 * 2 ** 20;
export const MAX_INSTANCE_BYTES = 32 * 2 ** 20;
export const MAX_PROCESS_BYTES = 64 * 2 ** 20;
/** Bytes of a request that is not gRPC, after which it is answered without its end. */
export const MAX_IGNORED_BYTES = 64 * 1024;
/** Header list size in bytes that SETTINGS announce, and that is enforced (h2spec sends 8,250 bytes and expects an answer). */
export const ANNOUNCED_HEADER_LIST_BYTES = 8_192;
export const MAX_HEADER_LIST_BYTES = 16_384;
export const MAX_HEADER_FIELDS = 64;
/** A header block: bytes before decoding, and frames after its HEADERS. Both are checked before anything is decoded. */
export const MAX_HEADER_BLOCK_BYTES = 16_384;
export const MAX_CONTINUATIONS = 4;
/** The HPACK table for requests, in bytes: the protocol's default, so nothing depends on the client's SETTINGS ACK (RFC 7541 §4.2). */
export const HEADER_TABLE_BYTES = 4_096;
export const MAX_SETTINGS_ENTRIES = 32;
/** DATA frames that one message may take: four times what the smallest sensible sender needs. */
export const MAX_DATA_FRAMES = 256;
/**
 * Streams that we closed before the client ended its side, so that its late frames are no error. nghttp2 never ends them; the
 * oldest is forgotten.
 */
export const MAX_EARLY_CLOSED = 1_000;
/** Output in bytes that may wait for the client. Above it the connection is not read. */
export const MAX_UNSENT_BYTES = 256 * 1024;
/** ms after which a connection whose output does not move is cut. */
export const UNSENT_TIMEOUT_MS = 30_000;
/** ms for the preface and the first SETTINGS. */
export const PREFACE_TIMEOUT_MS = 5_000;
/** ms for a request to arrive, and for an answer to leave, where the client gave no deadline. */
export const REQUEST_TIMEOUT_MS = 10_000;
export const ANSWER_TIMEOUT_MS = 30_000;
/** ms between two looks at deadlines. A deadline only frees resources here: the client has given up by itself. */
export const TICK_MS = 50;
/** A grpc-timeout above one day is as good as none. */
export const MAX_DEADLINE_MS = 24 * 3_600_000;
/** ms in which input is discarded after GOAWAY: a Unix socket closed with unread input resets the client (grpc-go #5358). */
export const LINGER_MS = 1_000;
/** The same at a drain, for a connection that has not greeted: it may be one that never says a word, and must not delay the stop. */
export const SILENT_LINGER_MS = 250;
/** Calls of one connection that are served in a turn of the event loop before the other connections get theirs. */
export const CALLS_PER_TURN = 64;
/**
 * ms of a turn that all connections of a socket may use together, before the other sockets get theirs. With 100 connections, 64
 * calls each would take a turn of 40 ms and more.
 */
export const SHARE_MS = 2;
/** Encoded bytes of a grpc-message: clients limit a header list. */
export const MAX_STATUS_MESSAGE_BYTES = 1_024;

/*
 * One credit counter per connection bounds all frames that cost work and carry none. A healthy grpc-go call costs two or
 * three credits (PING, WINDOW_UPDATE) and earns eight.
 */
export const CREDITS = 1_000;
export const CREDITS_PER_CALL = 8;
export const CREDITS_PER_SECOND = 100;
