// What doctor says of a Secret whose API server refuses the credentials.
import { FakeApiServer, json, rejectsWithCode, secretObject, statusObject } from '@teapot-kms/testing';
import { writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatManifest } from '../../../src/keyset/manifest.ts';
import { k8sSecretProvider } from '../../../src/stores/k8s-secret/index.ts';
import { GRANT_ROLE, RENEW_CREDENTIALS } from '../../../src/stores/k8s-secret/remedies.ts';
import { SharedResources } from '../../../src/util/shared-resources.ts';
import { patient } from '../../support/context.ts';
import { newKeyBytes } from '../../support/keys.ts';
import { manifestOf } from '../../support/manifests.ts';

const manifest = manifestOf('promoted');
const data = { 'keyset.yaml': Buffer.from(formatManifest(manifest)), [`${manifest.primary}.key`]: newKeyBytes() };

test('an expired token is no missing Role: doctor advises only a new token, and with it the keys load', async () => {
  const server = await FakeApiServer.start((stream, { authorization, ':path': path }) => {
    const isReview = path?.endsWith('selfsubjectaccessreviews');
    const expired = authorization !== 'Bearer new';
    if (isReview && expired) return json(stream, 401, { kind: 'Status', status: 'Failure', reason: 'Unauthorized' });
    if (isReview) return json(stream, 201, { status: { allowed: false } });
    stream.respond({ ':status': expired ? 401 : 200, 'content-type': 'application/vnd.kubernetes.protobuf' });
    stream.end(expired ? statusObject('Unauthorized', 'the token has expired') : secretObject({ name: 's', data }));
  });
  writeFileSync(server.path('token'), 'expired');
  server.writeKubeconfig({ tokenFile: 'token' });
  const open = () =>
    k8sSecretProvider.open(
      'k8s-secret:ns/s',
      { kubeconfig: server.kubeconfig, serves: 'unchecked' },
      new SharedResources(),
    );
  const [before, after] = [open(), open()];
  try {
    const { remedy } = await rejectsWithCode(() => before.load(patient), 'ERR_KMS_STORE_UNAVAILABLE');
    assert.is(remedy, RENEW_CREDENTIALS);
    const findings = await before.examine!(patient);
    assert.not(findings.some((finding) => finding.remedy === GRANT_ROLE));
    writeFileSync(server.path('token'), 'new');
    const keyset = await after.load(patient);
    assert.ok(keyset.seals);
    keyset.destroy();
    assert.ok(
      (await after.examine!(patient)).some((finding) => finding.remedy === GRANT_ROLE),
      'a Role may be missing',
    );
  } finally {
    await before.close?.();
    await after.close?.();
    server.close();
  }
});

test.run();
