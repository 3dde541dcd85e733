import { status as grpcStatus } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { Finding } from '@teapot-kms/core';
import { KmsClient } from '../client/client.ts';
import type { InstanceConfig } from '../config/schema.ts';
import type { InstanceDescription } from '../observability/metrics.ts';

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

/** Calls the plugin as kube-apiserver does, and asks it what it knows. */
export async function askPlugin({ name, socket }: InstanceConfig): Promise<Running> {
  const about = `${name}, socket ${socket}`;
  const client = new KmsClient(socket);
  try {
    const described = await client.describe();
    const description = described as unknown as RunningPlugin;
    return { findings: [await roundTrip(client, about)].flat(), description };
  } catch (error) {
    return { findings: [silent(about, error as ServiceError)] };
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
function silent(about: string, { code, details, message }: ServiceError): Finding {
  if (code === grpcStatus.DEADLINE_EXCEEDED) {
    const text = 'a process serves the socket and does not answer: it hangs, or is overloaded';
    const remedy = 'read its log. Restart it only if all checks of its key store above are fine';
    return { level: 'problem', about, text, remedy };
  }
  if (code === grpcStatus.UNIMPLEMENTED) {
    return { level: 'problem', about, text: 'another plugin than Teapot KMS serves the socket', remedy: 'stop it' };
  }
  const text = `no plugin serves the socket: ${details || message}`;
  return {
    level: 'problem',
    about,
    text,
    remedy: 'start the plugin: teapot-kms serve --config ... Its log says what hinders it',
  };
}
