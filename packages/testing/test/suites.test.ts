// Runs the two suites of key stores on the fakes. Other tests rely on fakes that keep the rules.
import { KmsError } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  FakeToken,
  FaultInjectingRemoteKek,
  FaultInjectingSource,
  keysetSourceSuite,
  rejectsWithCode,
  remoteKekSuite,
} from '../src/index.ts';

async function later(work: () => void): Promise<void> {
  await Promise.resolve();
  work();
}

keysetSourceSuite(test, 'the fake source', () => {
  const source = new FaultInjectingSource();
  const store = source.admin;
  return Promise.resolve({
    source,
    reopen: () => new FaultInjectingSource(store),
    replaceManifest: (text) => later(() => store.replaceManifest(text)),
    putBlob: (keyId, bytes) => later(() => store.putBlob(keyId, bytes)),
    removeBlob: (keyId) => later(() => store.putBlob(keyId, undefined)),
    readBlob: (keyId) => {
      const blob = store.readBlob(keyId);
      return blob ? Promise.resolve(blob) : Promise.reject(new Error('no blob'));
    },
  });
});

remoteKekSuite(test, 'the fake token', () => {
  const token = new FakeToken();
  return Promise.resolve({
    remote: new FaultInjectingRemoteKek(token),
    reopen: () => Promise.resolve(new FaultInjectingRemoteKek(token)),
    addVersion: () => {
      const keyId = token.add();
      token.hint();
      return Promise.resolve(keyId);
    },
  });
});

test('rejectsWithCode fails if nothing is thrown, or an error with another code or without one', async () => {
  const wrong: (() => unknown)[] = [
    () => undefined,
    () => Promise.resolve(),
    () => {
      throw new KmsError('ERR_KMS_CLOSED', 'x');
    },
    () => Promise.reject(new TypeError('x')),
  ];
  for (const work of wrong) {
    let failed = false;
    await rejectsWithCode(work, 'ERR_KMS_CANCELLED').catch(() => (failed = true));
    assert.ok(failed);
  }
});

test('rejectsWithCode accepts errors of synchronous and asynchronous calls', async () => {
  await rejectsWithCode(() => {
    throw new KmsError('ERR_KMS_CLOSED', 'x');
  }, 'ERR_KMS_CLOSED');
  const error = await rejectsWithCode(() => Promise.reject(new KmsError('ERR_KMS_CLOSED', 'y')), 'ERR_KMS_CLOSED');
  assert.is(error.message, 'y');
});

test.run();
