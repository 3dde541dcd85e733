import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Finding } from '@teapot-kms/core';
import { KmsClient } from '../client/client.ts';
import type { ServiceError } from '@grpc/grpc-js';
import type { Config, InstanceConfig } from '../config/schema.ts';
import { examineKeyStore } from './key-store.ts';

/** Checks each part after the parts that it depends on: host, key store, socket, answers. */
export async function* diagnose(config: Config): AsyncGenerator<Finding> {
  yield* host();
  for (const instance of config.instances) {
    yield* await examineKeyStore(instance);
    yield* socketDirectory(instance);
    yield* await running(instance);
  }
}

function* host(): Generator<Finding> {
  const limit = /^Max core file size +(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  if (limit === '0') yield { level: 'ok', about: 'core dumps', text: 'are off in this shell' };
  else {
    const remedy =
      'set LimitCORE=0 in the unit, or run "ulimit -c 0" before the plugin, as the unit and manifests in k8s/ do';
    yield {
      level: 'hint',
      about: 'core dumps',
      text: `are on for processes started in this shell (limit ${limit ?? 'unknown'}); a core dump contains keys`,
      remedy,
    };
  }
}

function* socketDirectory({ name, socket }: InstanceConfig): Generator<Finding> {
  const directory = dirname(socket);
  const about = `${name}, directory ${directory}`;
  const stat = statSync(directory, { throwIfNoEntry: false });
  if (!stat) yield { level: 'hint', about, text: 'does not exist; "serve" creates it with mode 0700' };
  else if ((stat.mode & 0o002) !== 0) {
    yield { level: 'problem', about, text: 'every user can replace the socket', remedy: `chmod 0700 ${directory}` };
  } else if ((stat.mode & 0o007) !== 0) {
    yield { level: 'hint', about, text: 'every user can list it', remedy: `chmod 0700 ${directory}` };
  } else yield { level: 'ok', about, text: 'is closed to other users' };
}

async function running({ name, socket }: InstanceConfig): Promise<Finding[]> {
  const about = `${name}, socket ${socket}`;
  const client = new KmsClient(socket);
  try {
    const { healthz, keyId } = await client.status();
    if (healthz !== 'ok')
      return [
        {
          level: 'problem',
          about,
          text: `the plugin is running and reports: ${healthz}`,
          remedy: `fix the key store of instance ${name}: ${healthz}`,
        },
      ];
    const plaintext = Buffer.from('teapot-kms doctor');
    const sealed = await client.encrypt(plaintext, 'doctor');
    const opened = await client.decrypt(sealed.ciphertext, sealed.keyId, 'doctor');
    if (!opened.equals(plaintext) || sealed.keyId !== keyId) {
      return [
        {
          level: 'problem',
          about,
          text: 'Decrypt does not return the plaintext that Encrypt got',
          remedy: 'do not use this plugin; report a defect',
        },
      ];
    }
    const { warnings } = (await client.describe()) as { warnings: string[] };
    const troubles = warnings.map((text): Finding => ({ level: 'problem', about, text, remedy: `fix: ${text}` }));
    return [{ level: 'ok', about, text: `Status, Encrypt and Decrypt work, key ${keyId}` }, ...troubles];
  } catch (error) {
    const { details = (error as Error).message } = error as Partial<ServiceError>;
    const remedy = 'start the plugin (teapot-kms serve --config ...), or read its log';
    return [{ level: 'problem', about, text: details, remedy }];
  } finally {
    client.close();
  }
}
