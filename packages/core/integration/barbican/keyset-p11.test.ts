import { skipWithoutOpenStack, TestCloud } from '@teapot-kms/testing/daemons';
import { test } from 'uvu';
import { suiteWithManifestOnHost } from './support/suite.ts';

skipWithoutOpenStack();
// On Debian 12, Barbican 15 with the shim of packages/testing/openstack/wsgi_barbican.py; on Debian 13, Barbican 20 as it is.
const cloud = await TestCloud.start({ crypto: 'p11', tokenCache: 300 });
test.after(() => cloud.stop());

suiteWithManifestOnHost(test, 'barbican (its own PKCS#11 plugin over SoftHSM2), manifest on the host', () => cloud);

test.run();
