import { formatProblems, KmsError, parseYaml, withheldValue } from '@teapot-kms/core';
import * as z from 'zod';
import { readInputFile } from '../input-file.ts';

/** Longest file that is read, in bytes. */
const MAX_BYTES = 1024 * 1024;

const schema = z.looseObject({
  kind: z.literal('EncryptionConfiguration', 'expected EncryptionConfiguration'),
  resources: z
    .array(z.looseObject({ resources: z.array(z.string().min(1).max(512)).min(1).max(10_000) }))
    .min(1)
    .max(1_000),
});

/**
 * Returns the resources that an EncryptionConfiguration names, each once: `secrets`, `widgets.example.com`, `*.*`.
 * @param where - what an error names: the file
 * @throws {@link KmsError} `ERR_KMS_INVALID_REQUEST`. It shows no value of the file, which may hold keys of other providers
 */
export function encryptedResources(yaml: string, where: string): string[] {
  const { value, problems } = parseYaml(yaml, schema, withheldValue);
  if (problems) throw new KmsError('ERR_KMS_INVALID_REQUEST', formatProblems(where, problems));
  return [...new Set(value.resources.flatMap(({ resources }) => resources))];
}

/** {@link encryptedResources} of a file. @throws as {@link readInputFile} too */
export function readEncryptedResources(file: string): string[] {
  const bytes = readInputFile(file, MAX_BYTES);
  try {
    return encryptedResources(bytes.toString('utf8'), file);
  } finally {
    bytes.fill(0);
  }
}
