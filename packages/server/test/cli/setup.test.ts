import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { undone } from '../../src/cli/setup.ts';

for (const [plugin, expected] of [
  ['systemd', /stop the plugin:\n {2}systemctl disable --now teapot-kms\n/],
  ['static-pod', /stop the plugin:\n {2}rm \/srv\/k8s\/manifests\/teapot-kms.yaml\n/],
  ['external', /stop the plugin\.\n/],
] as const) {
  test(`after an undo, a plugin of ${plugin} is stopped where it is`, () =>
    assert.match(undone({ plugin, kubernetesDirectory: '/srv/k8s' }), expected));
}

test.run();
