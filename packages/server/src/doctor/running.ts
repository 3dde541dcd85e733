import { status as grpcStatus } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { Finding } from '@teapot-kms/core';
import { KmsClient } from '../client/client.ts';
import type { InstanceConfig } from '../config/schema.ts';
import type { InstanceDescription } from '../observability/metrics.ts';
import { inPlaceOfSocket } from '../transport/socket.ts';

/** What the inspection of an instance answers. */
export type RunningPlugin = InstanceDescription & {
  /** Bytes, or `unlimited`. Plugins before this one do not say it. */
  readonly coreLimit?: string;
};

/** What the running plugin says of an instance. */
export interface Running {
  readonly findings: readonly Finding[];
  /** Absent if no plugin of ours answers. */
  readonly description?: RunningPlugin;
}

/**
 * Calls the plugin as kube-apiserver does, and asks it what it knows.
 * @param pid - of a process that runs with this configuration
 */
export async function askPlugin({ name, socket }: InstanceConfig, pid: number | undefined): Promise<Running> {
  const about = `${name}, socket ${socket}`;
  const client = new KmsClient(socket);
  try {
    const described = await client.describe();
    const description = described as unknown as RunningPlugin;
    return { findings: [await roundTrip(client, about)], description };
  } catch (error) {
    return { findings: [{ level: 'problem', about, ...silent(error as ServiceError, pid, socket) }] };
  } finally {
    client.close();
  }
}

async function roundTrip(client: KmsClient, about: string): Promise<Finding> {
  try {
    const { healthz, keyId } = await client.status();
    if (healthz !== 'ok') return { level: 'problem', about, text: `the plugin is running and reports: ${healthz}` };
    const plaintext = Buffer.from('teapot-kms doctor');
    const sealed = await client.encrypt(plaintext, 'doctor');
    const opened = await client.decrypt(sealed.ciphertext, sealed.keyId, 'doctor');
    if (opened.equals(plaintext) && sealed.keyId === keyId) {
      return { level: 'ok', about, text: `Status, Encrypt and Decrypt work, key ${keyId}` };
    }
    const text = 'Decrypt does not return the plaintext that Encrypt got';
    return { level: 'problem', about, text, remedy: 'do not use this plugin; report a defect' };
  } catch (error) {
    return { level: 'problem', about, text: (error as ServiceError).details };
  }
}

/** A plugin that hangs may be the last one that holds the keys, so it is not the first thing to restart. */
function silent(
  { code, details, message }: ServiceError,
  pid: number | undefined,
  socket: string,
): { text: string; remedy: string } {
  const first = 'if all checks of its key store above are fine';
  const process = pid === undefined ? 'a process' : `process ${pid}`;
  if (code === grpcStatus.DEADLINE_EXCEEDED) {
    const text = `${process} serves the socket and does not answer: it hangs, or is overloaded`;
    return { text, remedy: `read its log. Only ${first}, restart the plugin` };
  }
  if (code === grpcStatus.UNIMPLEMENTED) {
    const text = 'another plugin than Teapot KMS serves the socket';
    const remedy = 'give this instance a socket of its own; stop the other plugin only when no data needs its keys';
    return { text, remedy };
  }
  const reason = details || message;
  if (reason.includes('EACCES')) {
    return { text: `this user may not connect: ${reason}`, remedy: 'run doctor as root, or as the user of the plugin' };
  }
  const blocker = inPlaceOfSocket(socket);
  if (blocker) return blocker;
  if (pid !== undefined) {
    const text = `process ${pid} runs with this configuration, and does not serve the socket: ${reason}`;
    const remedy = `read its log. Only ${first}: teapot-kms serve --config FILE --take-over, and then end process ${pid}`;
    return { text, remedy };
  }
  const remedy = 'start the plugin: teapot-kms serve --config FILE (its log says what hinders it)';
  return { text: `no plugin serves the socket: ${reason}`, remedy };
}
