// What doctor puts into a remedy, for each kind of store: nothing is written over what is there.
import { newDirectory } from '@teapot-kms/testing';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { RESTORE_KEYSET, RESTORE_NEWEST } from '@teapot-kms/core';
import type { InstanceConfig } from '../../src/config/schema.ts';
import { concrete } from '../../src/doctor/concrete.ts';

const made = (remedy: string, uri: string): string =>
  concrete(remedy, { name: 'main', keys: { uri } } as InstanceConfig, '/etc/kms.yaml');
const BACKUP = 'from the backup: teapot-kms keys import BACKUP --config /etc/kms.yaml --instance main';
const DAMAGED = `move the damaged manifest aside, and ${RESTORE_KEYSET}`;
const KEYS = RESTORE_KEYSET.replace('the keyset', 'the keys');

test('a keyset directory: a copy goes beside it, and only what is missing or damaged is taken from there', () => {
  const options = '--config /etc/kms.yaml --instance main';
  const fetch = `scp -rp NODE:/d /d.copy && teapot-kms keys import /d.copy ${options}`;
  const backup = `or from the backup: teapot-kms keys import BACKUP ${options}`;
  assert.is(made(RESTORE_KEYSET, 'file:/d'), `restore the keyset from another node (${fetch}), ${backup}`);
  assert.is(made(KEYS, 'file:/d'), `restore the keys from another node (${fetch}), ${backup}`);
  assert.is(made('move key k1 aside', 'file:/d'), 'move key k1 aside (mv /d/k1.key /d/k1.key.aside)');
  assert.is(made('move key k1 aside', 'barbican:/d'), 'move key k1 aside');
});

test('what is moved aside, and what is fetched, gets a name that nothing has', () => {
  const directory = join(newDirectory(), 'keys');
  for (const name of ['', '.aside', '.copy', '.copy-2']) mkdirSync(`${directory}${name}`);
  for (const name of ['', '.damaged']) writeFileSync(`${directory}/keyset.yaml${name}`, name);
  const remedy = made(RESTORE_NEWEST, `file:${directory}`);
  assert.match(remedy, `Move the keyset here aside (mv ${directory} ${directory}.aside-2)`);
  assert.match(remedy, `(scp -rp NODE:${directory} ${directory}.copy-3 && `);
  const [, command] = /\((mv [^)]*)\)/.exec(made(DAMAGED, `file:${directory}`))!;
  execFileSync('/bin/sh', ['-c', command!]);
  assert.is(readFileSync(`${directory}/keyset.yaml.damaged`, 'utf8'), '.damaged');
  assert.is(readFileSync(`${directory}/keyset.yaml.damaged-2`, 'utf8'), '');
});

test('paths are quoted where a shell needs it, and characters of a replacement pattern mean nothing', () => {
  const text = concrete(
    RESTORE_KEYSET,
    { name: 'main', keys: { uri: 'file:/a $& b' } } as InstanceConfig,
    "/etc/it's $1.yaml",
  );
  assert.match(text, "(scp -rp 'NODE:/a $& b' '/a $& b.copy' && teapot-kms keys import '/a $& b.copy' ");
  assert.match(text, `--config '/etc/it'\\''s $1.yaml' --instance main`);
});

test('a Secret: what is wrong is moved aside in it, and only the backup has another copy', () => {
  const uri = 'k8s-secret:tenants/keyset';
  const BACKUP = `from the backup: KUBECONFIG=ADMIN teapot-kms keys import BACKUP --uri ${uri}`;
  assert.is(made(RESTORE_KEYSET, uri), `restore the keyset ${BACKUP}`);
  assert.is(made(KEYS, uri), `restore the keys ${BACKUP}`);
  for (const [remedy, phrase] of [
    [DAMAGED, 'move the damaged manifest aside'],
    [RESTORE_NEWEST, 'Move the keyset here aside'],
  ] as const) {
    assert.match(
      made(remedy, uri),
      new RegExp(
        `${phrase} \\(KUBECONFIG=ADMIN kubectl -n tenants patch secret keyset --type=json -p '\\[\\{"op":"move","from":"/data/keyset.yaml","path":"/data/keyset.yaml.aside-\\d{12}"\\}\\]'\\)`,
      ),
    );
    assert.match(made(remedy, uri), `restore the keyset ${BACKUP}`);
  }
});

test('Barbican with the manifest on the host: the manifest is on other nodes, the keys are in the backup', () => {
  assert.match(
    made(RESTORE_KEYSET, 'barbican:/d'),
    'restore the keyset from another node (scp -rp NODE:/d /d.copy && ',
  );
  assert.match(made(DAMAGED, 'barbican:/d'), '(mv /d/keyset.yaml /d/keyset.yaml.damaged)');
  assert.is(made(KEYS, 'barbican:/d'), `restore the keys ${BACKUP}`);
});

test('Barbican with the manifest in it: only the backup has another copy', () => {
  assert.is(made(RESTORE_KEYSET, 'barbican:main'), `restore the keyset ${BACKUP}`);
  assert.is(made(KEYS, 'barbican:main'), `restore the keys ${BACKUP}`);
  const remedy = made(RESTORE_NEWEST, 'barbican:main');
  assert.match(remedy, 'openstack secret list --name teapot-kms-keyset-main');
  assert.match(remedy, `restore the keyset ${BACKUP}`);
});

test.run();
