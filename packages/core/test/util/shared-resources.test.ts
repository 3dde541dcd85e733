import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KmsError } from '../../src/errors.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';

class Counted {
  closed = 0;
  close(): Promise<void> {
    this.closed++;
    return Promise.resolve();
  }
}

test('two who ask for the same thing share it, and the last one closes it', async () => {
  const shared = new SharedResources();
  const first = shared.acquire('a', () => new Counted());
  const second = shared.acquire('a', () => new Counted());
  const { resource } = first;
  assert.is(second.resource, resource);
  await first.release();
  assert.is(resource.closed, 0);
  await second.release();
  assert.is(resource.closed, 1);
  assert.is(shared.size, 0);
});

test('another key is another thing', () => {
  const shared = new SharedResources();
  assert.is.not(shared.acquire('a', () => new Counted()).resource, shared.acquire('b', () => new Counted()).resource);
});

test('releasing twice counts once', async () => {
  const shared = new SharedResources();
  const first = shared.acquire('a', () => new Counted());
  const second = shared.acquire('a', () => new Counted());
  await first.release();
  await first.release();
  assert.is(second.resource.closed, 0);
});

test('what was closed is made anew for the next', async () => {
  const shared = new SharedResources();
  const first = shared.acquire('a', () => new Counted());
  const { resource } = first;
  await first.release();
  assert.is.not(shared.acquire('a', () => new Counted()).resource, resource);
});

test('a lease that was released refuses', async () => {
  const lease = new SharedResources().acquire('a', () => new Counted());
  await lease.release();
  assert.throws(
    () => lease.resource,
    (error: unknown) => error instanceof KmsError && error.code === 'ERR_KMS_CLOSED',
  );
});

test.run();
