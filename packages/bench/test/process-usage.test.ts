import { until } from '@teapot-kms/testing';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cpuSeconds, memoryKb } from '../src/load/process-usage.ts';

/** Uses 0.3 s of CPU and 64 MB in a child process. Its parent uses almost nothing. */
const BUSY =
  'const held = Buffer.alloc(64 << 20, 1); while (process.cpuUsage().user < 3e5); setTimeout(() => held, 60_000)';

const test = suite('process usage');
let shell: ChildProcess;

test.before(() => {
  shell = spawn('sh', ['-c', `'${process.execPath}' -e '${BUSY}' & child=$!; trap "kill $child" TERM; wait`]);
});

test.after(() => {
  shell.kill();
});

test("counts the CPU of a process's children", async () => {
  await until('the child has used 0.3 s of CPU', () => cpuSeconds(shell.pid!) >= 0.3);
});

test("counts the memory of a process's children", () => {
  const { rss, pss } = memoryKb(shell.pid!);
  assert.ok(pss > 64 << 10, `${pss} kB`);
  assert.ok(rss >= pss, `${rss} kB resident, ${pss} kB proportional`);
});

test.run();
