import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { KmsClient } from '../client/client.ts';
import type { Config, InstanceConfig } from '../config/schema.ts';
import type { Finding } from './finding.ts';
import { examineKeyStore } from './key-store.ts';

/** Checks in the order in which things depend on each other: host, key store, socket, the answers. */
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
  if (limit === '0') yield { level: 'ok', about: 'core dumps', text: 'are off here' };
  else {
    const remedy =
      'set LimitCORE=0 in the unit, or run "ulimit -c 0" before the plugin (the unit and manifests of k8s/ do)';
    yield {
      level: 'hint',
      about: 'core dumps',
      text: `may be written by processes started here (limit ${limit ?? 'unknown'}): they would hold keys`,
      remedy,
    };
  }
}

function* socketDirectory({ name, socket }: InstanceConfig): Generator<Finding> {
  const directory = dirname(socket);
  const about = `${name}, directory ${directory}`;
  const stat = statSync(directory, { throwIfNoEntry: false });
  if (!stat) yield { level: 'hint', about, text: 'does not exist yet; "serve" makes it with mode 0700' };
  else if ((stat.mode & 0o002) !== 0) {
    yield { level: 'problem', about, text: 'everyone may replace the socket in it', remedy: `chmod 0700 ${directory}` };
  } else if ((stat.mode & 0o007) !== 0) {
    yield { level: 'hint', about, text: 'everyone may look into it', remedy: `chmod 0700 ${directory}` };
  } else yield { level: 'ok', about, text: 'is closed to others' };
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
          text: `the plugin runs, but says: ${healthz}`,
          remedy: `look at the key store of instance ${name}: ${healthz}`,
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
          text: 'Encrypt and Decrypt do not give back what went in',
          remedy: 'stop using this plugin and report a defect',
        },
      ];
    }
    const { warnings } = (await client.describe()) as { warnings: string[] };
    const troubles = warnings.map((text): Finding => ({ level: 'problem', about, text, remedy: text }));
    return [{ level: 'ok', about, text: `Status, Encrypt and Decrypt work, key ${keyId}` }, ...troubles];
  } catch (error) {
    const { details, message } = error as { details?: string; message: string };
    return [
      {
        level: 'problem',
        about,
        text: details ?? message,
        remedy: 'start the plugin (teapot-kms serve --config ...), or look into its log',
      },
    ];
  } finally {
    client.close();
  }
}
