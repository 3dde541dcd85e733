import { newDirectory } from '@teapot-kms/testing';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { distrustOf, distrustOfAsync, distrustOfPlace } from '../../src/util/trusted-path.ts';

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
      `${file} can be written by others than its owner, user ${process.geteuid!()} (mode 0${mode.toString(8)}); chmod go-w ${file}`,
    );
  });
}

test('a directory above that others can write is not trusted', async () => {
  const { directory, file } = place();
  chmodSync(directory, 0o777);
  assert.is(
    await distrust(file),
    `${directory} can be written by others than its owner, user ${process.geteuid!()} (mode 0777); chmod go-w ${directory}`,
  );
});

test('a sticky directory that others can write is trusted, as a mounted Secret is one', async () => {
  const { directory, file } = place();
  chmodSync(directory, 0o1777);
  assert.is(await distrust(file), undefined);
});

test('a sticky directory is no place for a socket: others could take its name while it is free', () => {
  const { directory } = place();
  assert.is(distrustOfPlace(directory), undefined);
  for (const mode of [0o1777, 0o1770, 0o770]) {
    chmodSync(directory, mode);
    assert.is(distrustOfPlace(directory)?.remedy, `chmod go-w ${directory}`);
  }
});

test('a place below a sticky directory is one, as it cannot be replaced', () => {
  const { directory } = place();
  const below = join(directory, 'socket');
  mkdirSync(below, { mode: 0o750 });
  chmodSync(directory, 0o1777);
  assert.is(distrustOfPlace(below), undefined);
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

  test('root is not told to take away what the plugin of another user needs', async () => {
    const { file } = place();
    chownSync(file, OTHER, OTHER);
    assert.match(
      (await distrust(file)) ?? '',
      `if the plugin runs as user ${OTHER}, run this as that user; else find out`,
    );
  });

  test('a link of another user is not trusted, even in a sticky directory', async () => {
    const { directory, file } = place();
    const link = join(directory, 'link');
    symlinkSync(file, link);
    lchownSync(link, OTHER, OTHER);
    assert.match((await distrust(link)) ?? '', `chown -h 0 ${link}`);
  });
}

/** What is said of a file in a directory of mode 0777, after `commands` have mounted something there, in a mount namespace of its own. */
function mounted(...commands: string[]): { code: number | null; said: string } {
  const { directory, file } = place();
  const data = `mkdir ${directory}/..1 && echo > ${directory}/..1/keyset.yaml && ln -s ..1 ${directory}/..data`;
  const steps = commands.map((command) => command.replaceAll('DIR', directory).replace('DATA', data));
  const program = `import { distrustOf } from '${import.meta.resolve('../../src/util/trusted-path.ts')}';
    console.log(distrustOf('${directory}/..data/keyset.yaml')?.text ?? 'trusted', distrustOf('${file}')?.text ?? '');`;
  const node = `exec ${process.execPath} --input-type=module -e '${program.replaceAll("'", "'\\''")}'`;
  const { status, stdout } = spawnSync('unshare', ['-m', 'sh', '-ec', [...steps, node].join('\n')], {
    encoding: 'utf8',
  });
  return { code: status, said: stdout };
}

const canMount = isRoot && spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'x', '/mnt']).status === 0;
if (!canMount) console.log('SKIPPED volumes of the kubelet: only root with CAP_SYS_ADMIN can mount');
else {
  const TMPFS = 'mount -t tmpfs -o mode=0777 x DIR';
  for (const [what, commands, expected] of [
    ['a ConfigMap as the kubelet mounts it is trusted', [TMPFS, 'DATA', 'mount -o remount,ro DIR'], /^trusted/],
    ['one that can be written is not', [TMPFS, 'DATA'], /can be written by others/],
    [
      'a directory that is only read-only for us, as by ProtectSystem, is not',
      ['chmod 0777 DIR', 'DATA', 'mount --bind DIR DIR', 'mount -o remount,ro,bind DIR'],
      /can be written by others/,
    ],
  ] as const) {
    test(what, () => {
      const { code, said } = mounted(...commands);
      assert.is(code, 0);
      assert.match(said, expected);
    });
  }
}

test.run();
