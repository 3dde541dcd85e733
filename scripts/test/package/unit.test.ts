/** The systemd unit, as far as it can be checked without running it. `debian.test.ts` runs it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { root } from '../../package/release.ts';

const file = join(root, 'k8s/systemd/teapot-kms.service');
const unit = readFileSync(file, 'utf8');
/** systemd's verdict, from 0 to 10; less is better. */
const EXPOSURE = 2;

for (const setting of [
  // After a restart, kube-apiserver's pod still sees the directory that it mounted.
  'RuntimeDirectoryPreserve=yes',
  // A plugin that cannot start is tried again for ever.
  'StartLimitIntervalSec=0',
  'Restart=always',
  // kubelet starts when the socket is open.
  'Type=notify',
  'Before=kubelet.service',
  // No core dump, neither of a crash nor of the watchdog.
  'LimitCORE=0',
  'WatchdogSignal=SIGKILL',
]) {
  test(`the unit has ${setting}`, () => assert.ok(unit.split('\n').includes(setting)));
}

test('the unit runs the launcher and gives no flags of Node', () => {
  assert.match(unit, /^ExecStart=\/usr\/bin\/teapot-kms serve --config \/etc\/teapot-kms\/config\.yaml$/m);
  assert.not.match(unit, '--disable-sigusr1');
});

if (spawnSync('systemd-analyze', ['--version']).status !== 0) {
  console.log('SKIPPED the verdict of systemd-analyze: apt-get install systemd');
} else {
  test(`systemd-analyze security gives at most ${EXPOSURE}`, () => {
    const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', file], { encoding: 'utf8' });
    const [, exposure] = /exposure level for teapot-kms.service: ([\d.]+)/.exec(stdout) ?? [];
    console.log(`FIGURE systemd-analyze security: ${exposure ?? 'none'}`);
    assert.ok(Number(exposure) <= EXPOSURE, stdout);
  });
}

test.run();
