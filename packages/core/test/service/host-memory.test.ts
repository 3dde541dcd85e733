// What a host remembers, as the guard of keysets uses it.
import { newDirectory } from '@teapot-kms/testing';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import * as nodeFs from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostRecords } from '../../src/keyset/host-records.ts';
import { KeysetGuard } from '../../src/service/keyset-guard.ts';
import { first, foreign, fork, guardIn, manifest, replaced, second } from '../support/guarded-manifests.ts';

test('a record that cannot be written is a hint with a remedy, and stops nothing', async () => {
  const directory = newDirectory();
  const file = join(directory, 'file');
  writeFileSync(file, '');
  const guard = guardIn(join(file, 'state'));
  await guard.remember(first);
  const [hint] = guard.hints;
  assert.match(hint!.message, /file\/state cannot be written .*rolled back is not recognised/);
  assert.match(hint!.remedy!, `move aside the file that is in the place of a directory: ${file}`);
  assert.equal(await guard.judge(second, first), { use: 'all' });
});

/** A file system that fails to read, or to write, while a test wants it. */
function failingFs() {
  const failing: { reads?: string; writes?: string } = {};
  const open = (path: string, flags: string | number, ...more: []) => {
    const code = flags === 'wx' ? failing.writes : failing.reads;
    return code === undefined
      ? nodeFs.open(path, flags, ...more)
      : Promise.reject(Object.assign(new Error(code), { code }));
  };
  return { failing, fs: { ...nodeFs, open } as unknown as typeof nodeFs };
}

function failingGuard(directory = newDirectory()) {
  const { failing, fs } = failingFs();
  const guard = () =>
    new KeysetGuard({ name: '/run/kms.sock', uri: 'file:/keys', records: new HostRecords(directory, fs) });
  return { directory, failing, guard, recorded: () => new HostRecords(directory).read('/run/kms.sock') };
}
const third = manifest(3, 'e', 'b');

for (const code of ['ENOSPC', 'EROFS']) {
  test(`a record that was left behind (${code}) confirms no rollback to what it says`, async () => {
    const { directory, failing, guard } = failingGuard();
    const running = guard();
    await running.remember(first);
    failing.writes = code;
    assert.is((await running.judge(third, first)).use, 'all');
    await running.remember(third);
    assert.match(running.hints[0]!.message, new RegExp(`cannot be written .*${code}`));
    const verdict = await running.judge(first, third);
    assert.is(verdict.use, 'nothing');
    assert.match(verdict.problem!.message, /older: the keys in memory are of generation 3. .* stay in use/);
    await new HostRecords(directory).write('/run/kms.sock', first);
    assert.equal(await running.judge(first, third), { use: 'all' }, 'somebody has confirmed what was recorded already');
  });
}

test('a confirmation counts until the keyset is in use, also if it cannot be loaded at once', async () => {
  const { directory, guard, recorded } = failingGuard();
  const running = guard();
  await running.remember(third);
  await new HostRecords(directory).write('/run/kms.sock', first);
  for (let load = 0; load < 3; load++) assert.equal(await running.judge(first, third), { use: 'all' });
  await running.remember(first);
  assert.is((await recorded())!.generation, 1);
  assert.is((await running.judge(second, third)).use, 'nothing', 'and for no other keyset');
});

test('over a record that was damaged, a confirmation counts', async () => {
  const { directory, guard } = failingGuard();
  await guard().remember(first);
  writeFileSync(join(directory, readdirSync(directory)[0]!), 'damaged');
  const running = guard();
  assert.equal(await running.judge(third, undefined), { use: 'all' });
  assert.is((await running.judge(first, third)).use, 'nothing');
  await new HostRecords(directory).write('/run/kms.sock', first);
  assert.equal(await running.judge(first, third), { use: 'all' });
});

test('a keyset that somebody has confirmed is not recorded over by the one in use', async () => {
  const { directory, failing, guard, recorded } = failingGuard();
  const running = guard();
  await running.remember(first);
  failing.writes = 'ENOSPC';
  await running.judge(third, first);
  await running.remember(third);
  delete failing.writes;
  await new HostRecords(directory).write('/run/kms.sock', second);
  await running.remember(third);
  assert.is((await recorded())!.generation, 2);
  assert.equal(await running.judge(second, third), { use: 'all' });
});

test('what another process of this instance has written is no confirmation', async () => {
  const { directory, guard, failing } = failingGuard();
  const running = guard();
  await running.remember(first);
  failing.writes = 'ENOSPC';
  await running.judge(third, first);
  await running.remember(third);
  const records = new HostRecords(directory);
  await records.write('/run/kms.sock', fork, await records.read('/run/kms.sock'));
  assert.is((await running.judge(fork, third)).use, 'nothing');
});

for (const [what, lose] of [
  ['cannot be read', ({ failing }) => void (failing.reads = 'EMFILE')],
  ['is removed', ({ directory }) => rmSync(join(directory, readdirSync(directory)[0]!))],
  ['is damaged', ({ directory }) => writeFileSync(join(directory, readdirSync(directory)[0]!), '{}')],
] as [string, (made: ReturnType<typeof failingGuard>) => void][]) {
  test(`keys that only open do not begin to seal when the record ${what}`, async () => {
    const made = failingGuard();
    await made.guard().remember(third);
    const running = made.guard();
    assert.is((await running.judge(first, undefined)).use, 'opening');
    lose(made);
    assert.is((await running.judge(first, first, false)).use, 'opening');
    await running.remember(first);
    delete made.failing.reads;
    assert.is.not((await made.recorded().catch(() => undefined))?.generation, 1, 'nothing writes the record down');
    assert.is((await running.judge(first, first, false)).use, 'opening');
    assert.equal(await running.judge(third, first, false), { use: 'all' });
  });
}

test('what was taken while the record could not be read is judged again as soon as it can', async () => {
  const { failing, guard, recorded } = failingGuard();
  await guard().remember(third);
  failing.reads = 'EIO';
  const running = guard();
  assert.equal(await running.judge(first, undefined), { use: 'all' }, 'a start does not depend on the record');
  await running.remember(first);
  assert.match(running.hints[0]!.message, /cannot be read \(EIO\)/);
  assert.equal(await running.judge(first, first), { use: 'all' });
  delete failing.reads;
  await running.remember(first);
  assert.is((await recorded())!.generation, 3, 'the next verdict comes first');
  const verdict = await running.judge(first, first);
  assert.is(verdict.use, 'opening');
  assert.match(verdict.problem!.message, /older: this host has used generation 3. Its keys decrypt, and nothing/);
  assert.equal(running.hints, []);
  assert.is((await running.judge(first, first)).use, 'opening', 'until it is applied');
  assert.is((await running.judge(first, first, false)).use, 'opening');
  assert.equal(await running.judge(third, first, false), { use: 'all' });
});

test('another keyset that was taken meanwhile goes on to open what it has sealed, and no other replaces it', async () => {
  const { failing, guard } = failingGuard();
  await guard().remember(second);
  failing.reads = 'EIO';
  const running = guard();
  await running.judge(foreign, undefined);
  delete failing.reads;
  const verdict = await running.judge(foreign, foreign);
  assert.is(verdict.use, 'opening');
  assert.match(verdict.problem!.message, /has another keyset, .* this host has used .* Its keys decrypt/);
  assert.is((await running.judge({ ...foreign, contextId: '9'.repeat(32) }, foreign, false)).use, 'nothing');
  assert.equal(await running.judge(second, foreign, false), { use: 'all' });
});

test('a keyset that is newer than the record that could not be read is used, and recorded with all former primaries', async () => {
  const { failing, guard, recorded } = failingGuard();
  await guard().remember(replaced);
  failing.reads = 'EIO';
  const running = guard();
  const next = { ...third, primary: 'key-2', keys: [] };
  await running.judge(next, undefined);
  await running.remember(next);
  delete failing.reads;
  assert.equal(await running.judge(next, next), { use: 'all' });
  await running.remember(next);
  const record = (await recorded())!;
  assert.equal([record.generation, record.formers.toSorted()], [3, ['key-0', 'key-1']]);
});

test('what cannot be read says what to do, by its cause', async () => {
  const { failing, guard } = failingGuard();
  await guard().remember(first);
  const remedies: (string | undefined)[] = [];
  for (const code of ['EACCES', 'EIO']) {
    failing.reads = code;
    const running = guard();
    await running.judge(first, undefined);
    remedies.push(running.hints[0]!.remedy);
  }
  assert.match(remedies[0]!, /^chown -R \d+ \//);
  assert.match(remedies[1]!, /^find out what is wrong with the file system of \//);
});

test('a damaged record is a hint, does not stop a start, and stays until somebody confirms the keyset', async () => {
  const directory = newDirectory();
  await guardIn(directory).remember(second);
  writeFileSync(join(directory, readdirSync(directory)[0]!), 'damaged');
  const guard = guardIn(directory);
  assert.equal(await guard.judge(first, undefined), { use: 'all' });
  assert.match(guard.hints[0]!.message, /cannot be read/);
  await guard.remember(first);
  assert.match(guard.hints[0]!.message, /cannot be read/);
  await new HostRecords(directory).write('/run/kms.sock', first);
  assert.equal(await guard.judge(first, first), { use: 'all' });
  await guard.remember(first);
  assert.equal(guard.hints, []);
});

test.run();
