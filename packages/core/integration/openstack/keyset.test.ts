import { test } from 'uvu';
import { skipWithoutOpenStack, TestCloud } from './support/cloud.ts';
import { suiteWithManifestInBarbican, suiteWithManifestOnHost } from './support/suite.ts';

skipWithoutOpenStack();
const cloud = await TestCloud.start({ tokenCache: 300 });
test.after(() => cloud.stop());

suiteWithManifestOnHost(test, 'barbican (simple_crypto), manifest on the host', () => cloud);
suiteWithManifestInBarbican(test, 'barbican (simple_crypto), manifest in Barbican', () => cloud);

test.run();
