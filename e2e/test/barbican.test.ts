import { fullRun } from '@teapot-kms/testing';
import { barbicanKeyStore, skipWithoutOpenStack } from '../src/key-stores/barbican.ts';
import { runGroup } from '../src/run-group.ts';
import { v1Group, v2Group } from '../src/scenarios/index.ts';

skipWithoutOpenStack();
// With Barbican's own PKCS#11 plugin: on Debian 12 by the shim of packages/testing/openstack/wsgi_barbican.py.
runGroup(v2Group, barbicanKeyStore('p11'));
if (fullRun) {
  runGroup(v2Group, barbicanKeyStore('simple'));
  runGroup(v1Group, barbicanKeyStore('simple'));
} else console.log('only with TEAPOT_TEST_FULL=1, as it takes minutes: v2 and v1 on Barbican with simple_crypto');
