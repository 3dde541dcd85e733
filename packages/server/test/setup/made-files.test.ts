import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { parseConfig } from '../../src/config/load.ts';
import { DEFAULT_STATE_DIRECTORY } from '../../src/config/schema.ts';
import { pluginConfiguration, pluginPod } from '../../src/setup/made-files.ts';

const made = {
  instance: 'main',
  socket: '/run/teapot-kms/main/kms.sock',
  keysUri: 'file:/var/lib/teapot-kms/main',
  stateDirectory: DEFAULT_STATE_DIRECTORY,
  minor: 37,
};

test('the static pod is the one of k8s/static-pod', () => {
  const pod = pluginPod({
    image: 'localhost/teapot-kms:0.1.0',
    config: '/etc/teapot-kms/config.yaml',
    socketDirectory: '/run/teapot-kms',
    stateDirectory: DEFAULT_STATE_DIRECTORY,
    keyDirectories: ['/var/lib/teapot-kms/main', '/var/lib/teapot-kms/other'],
    port: 8089,
  });
  const example = new URL('../../../../k8s/static-pod/teapot-kms.yaml', import.meta.url);
  assert.equal(parse(pod), parse(readFileSync(example, 'utf8')));
});

test('keysets in different places are all mounted, and without a port nothing is probed', () => {
  const pod = pluginPod({
    image: 'i',
    config: '/etc/teapot-kms/config.yaml',
    socketDirectory: '/run/teapot-kms',
    stateDirectory: '/state',
    keyDirectories: ['/a/main', '/b/main'],
    port: undefined,
  });
  assert.match(pod, 'mountPath: /a\n');
  assert.match(pod, 'mountPath: /b\n');
  assert.not.match(pod, 'livenessProbe');
});

test('a made configuration is valid, also for Kubernetes 1.28, which has settings of its own', () => {
  assert.is(parseConfig(pluginConfiguration(made), 'c').instances[0]!.kmsV2Version, 'v2');
  assert.is(parseConfig(pluginConfiguration({ ...made, minor: 28 }), 'c').instances[0]!.kmsV2Version, 'v2beta1');
  assert.is(parseConfig(pluginConfiguration({ ...made, stateDirectory: '/s' }), 'c').stateDirectory, '/s');
});

test.run();
