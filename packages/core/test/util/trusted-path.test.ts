import { newDirectory } from '@teapot-kms/testing';
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distrustOf, distrustOfAsync } from '../../src/util/trusted-path.ts';

/** A directory with a file in it, and nobody else's. */
function place(): { directory: string; file: string } {
  const directory = join(newDirectory(), 'keys');
  mkdirSync(directory, { mode: 0o755 });
  const file = join(directory, 'keyset.yaml');
  writeFileSync(file, '', { mode: 0o644 });
  return { directory, file };
}

/** Both ways agree. */
async function distrust(path: string): Promise<string | undefined> {
  const found = distrustOf(path);
  assert.equal(await distrustOfAsync(path), found);
  return found && `${found.text}; ${found.remedy}`;
}

/** Somebody else: root can give files away, another user cannot, and then no test of owners can run. */
const OTHER = 65_534;
const isRoot = process.geteuid?.() === 0;

test('a file of ours below a sticky directory such as /tmp is trusted', async () => {
  assert.is(await distrust(place().file), undefined);
});

test('a path that is not there is no problem here', async () => {
  assert.is(await distrust('/nowhere/at/all'), undefined);
});

for (const mode of [0o664, 0o646, 0o666]) {
  test(`a file of mode ${mode.toString(8)} is not trusted`, async () => {
    const { file } = place();
    chmodSync(file, mode);
    assert.is(
      await distrust(file),
      `${file} can be written by others than its owner (mode 0${mode.toString(8)}); chmod go-w ${file}`,
    );
  });
}

test('a directory above that others can write is not trusted', async () => {
  const { directory, file } = place();
  chmodSync(directory, 0o777);
  assert.is(
    await distrust(file),
    `${directory} can be written by others than its owner (mode 0777); chmod go-w ${directory}`,
  );
});

test('a sticky directory that others can write is trusted, as a mounted Secret is one', async () => {
  const { directory, file } = place();
  chmodSync(directory, 0o1777);
  assert.is(await distrust(file), undefined);
});

test('the links of a mounted Secret are followed, and their targets judged', async () => {
  const { directory } = place();
  mkdirSync(join(directory, '..2026'));
  writeFileSync(join(directory, '..2026', 'a.key'), '', { mode: 0o640 });
  symlinkSync('..2026', join(directory, '..data'));
  symlinkSync('..data/a.key', join(directory, 'a.key'));
  assert.is(await distrust(join(directory, 'a.key')), undefined);
  chmodSync(join(directory, '..2026', 'a.key'), 0o666);
  assert.match((await distrust(join(directory, 'a.key'))) ?? '', '..2026/a.key can be written by others');
});

test('a link into a place that others can write is not trusted', async () => {
  const [ours, theirs] = [place(), place()];
  chmodSync(theirs.directory, 0o777);
  const link = join(ours.directory, 'link');
  symlinkSync(theirs.directory, link);
  assert.match((await distrust(join(link, 'keyset.yaml'))) ?? '', `${theirs.directory} can be written by others`);
});

test('links that lead in a circle end', async () => {
  const { directory } = place();
  symlinkSync('b', join(directory, 'a'));
  symlinkSync('a', join(directory, 'b'));
  assert.is(await distrust(join(directory, 'a')), undefined);
});

if (!isRoot) console.log('SKIPPED files of other users: only root can make them');
else {
  test('a file of another user is not trusted, unless that user is a trusted one', async () => {
    const { file } = place();
    chownSync(file, OTHER, OTHER);
    assert.match((await distrust(file)) ?? '', `${file} belongs to user ${OTHER} (mode 0644), who can change it; `);
    assert.is(distrustOf(file, [OTHER]), undefined);
  });

  test('a link of another user is not trusted, even in a sticky directory', async () => {
    const { directory, file } = place();
    const link = join(directory, 'link');
    symlinkSync(file, link);
    lchownSync(link, OTHER, OTHER);
    assert.match((await distrust(link)) ?? '', `chown -h 0 ${link}`);
  });
}

test.run();
