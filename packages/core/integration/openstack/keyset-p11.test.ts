import { test } from 'uvu';
import { skipWithoutOpenStack, TestCloud } from './support/cloud.ts';
import { suiteWithManifestOnHost } from './support/suite.ts';

skipWithoutOpenStack();
// On Debian 12, Barbican 15 with the shim of test-parts/openstack/wsgi_barbican.py; on Debian 13, Barbican 20 as it is.
const cloud = await TestCloud.start({ crypto: 'p11', tokenCache: 300 });
test.after(() => cloud.stop());

suiteWithManifestOnHost(test, 'barbican (its own PKCS#11 plugin over SoftHSM2), manifest on the host', () => cloud);

test.run();
