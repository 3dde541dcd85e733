import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { FailingOwners } from '../../../../src/stores/pkcs11/token-host/failing-owners.ts';

const [one, two] = [{}, {}];

function fail(owners: FailingOwners, owner: object, times: number): void {
  for (let i = 0; i < times; i++) owners.note(owner, true);
}

test('five failures in a row are enough, four or interrupted ones are not', () => {
  const owners = new FailingOwners();
  fail(owners, one, 4);
  assert.not(owners.all);
  owners.note(one, false);
  fail(owners, one, 4);
  assert.not(owners.all);
  fail(owners, one, 1);
  assert.ok(owners.all);
});

test('while the process works for one owner, the failures of another are its own', () => {
  const owners = new FailingOwners();
  owners.note(two, false);
  fail(owners, one, 20);
  assert.not(owners.all);
  fail(owners, two, 1);
  assert.ok(owners.all);
});

test('an owner that was forgotten does not count, whatever still arrives for it', () => {
  const owners = new FailingOwners();
  owners.note(two, false);
  owners.forget(two);
  owners.note(two, false);
  fail(owners, one, 5);
  assert.ok(owners.all);
});

test('a new process starts without failures', () => {
  const owners = new FailingOwners();
  fail(owners, one, 5);
  owners.clear();
  assert.not(owners.all);
});

test.run();
