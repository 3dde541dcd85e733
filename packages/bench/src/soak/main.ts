import { parseArgs } from 'node:util';
import { missingTeapotBench } from '../load/teapot-bench.ts';
import { soak } from './soak.ts';

const USAGE = `Calls two plugins for a long time while keys are rotated, plugins are replaced and a tenant floods its socket. Every
plaintext is compared with what was encrypted.

usage: npm run soak [-- --minutes N] [--tenants N]
  --minutes  how long (default 60)
  --tenants  instances of each plugin (default 20)
  --help     print this text

The exit code is 1 if a plaintext was wrong, a call failed without a cause, or the memory of the plugin that lasts grew.`;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    tenants: { type: 'string', default: '20' },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) console.log(USAGE);
else {
  const missing = missingTeapotBench();
  if (missing !== undefined) throw new Error(missing);
  const [minutes, tenants] = [Number(values.minutes), Number(values.tenants)];
  const { calls, wrong, failed, failedWhileDown, rounds, heap, leaks } = await soak({
    minutes,
    tenants,
    floodSeconds: 4,
    say: (line) => console.log(line),
  });
  for (const [text, times] of Object.entries(failed)) console.log(`failed ${times} times: ${text}`);
  const failures = Object.values(failed).reduce((total, times) => total + times, 0);
  const megabytes = [heap[0]!, heap.at(-1)!].map((bytes) => (bytes / 2 ** 20).toFixed(1));
  console.log(
    `${calls} calls in ${rounds} rounds: ${wrong} wrong, ${failures} failed, ${failedWhileDown} while a plugin was down; heap ${megabytes.join(' -> ')} MB${leaks ? ', and it grows' : ''}`,
  );
  if (wrong > 0 || failures > 0 || leaks) process.exitCode = 1;
}
