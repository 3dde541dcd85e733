import { FakeClock } from '@teapot-kms/testing';
import { pino } from 'pino';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ServiceManager } from '../../src/observability/service-manager.ts';

interface Context {
  clock: FakeClock;
  told: string[];
  logged: string[];
  failure: Error | undefined;
}

const test = suite<Context>('service manager');
test.before.each((context) => {
  Object.assign(context, { clock: new FakeClock(), told: [], logged: [], failure: undefined });
});

function open(context: Context, environment: NodeJS.ProcessEnv): ServiceManager {
  const log = pino({ base: null, timestamp: false }, { write: (line: string) => context.logged.push(line) });
  return new ServiceManager(environment, log, context.clock, (socket, assignments) => {
    context.told.push(`${socket}: ${assignments.join(' ')}`);
    return context.failure ? Promise.reject(context.failure) : Promise.resolve();
  });
}

test('without systemd nothing is sent', async (context) => {
  const manager = open(context, {});
  await manager.ready('serving');
  await context.clock.advance(3_600_000);
  await manager.stopping();
  assert.equal(context.told, []);
});

test('readiness is sent with the status', async (context) => {
  await open(context, { NOTIFY_SOCKET: '/run/n' }).ready('2 instances');
  assert.equal(context.told, ['/run/n: READY=1 STATUS=2 instances']);
});

test('children do not inherit the variables of sd_notify', (context) => {
  const environment = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '120000000', WATCHDOG_PID: '1', PATH: '/bin' };
  open(context, environment);
  assert.equal(environment, { PATH: '/bin' });
});

test('once ready, the watchdog hears four times in its time, until the plugin stops', async (context) => {
  const environment = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '120000000', WATCHDOG_PID: String(process.pid) };
  const manager = open(context, environment);
  await context.clock.advance(120_000);
  assert.is(context.told.length, 0);
  await manager.ready('');
  await context.clock.advance(120_000);
  assert.equal(context.told.slice(1), Array<string>(4).fill('/run/n: WATCHDOG=1'));
  await manager.stopping();
  await context.clock.advance(120_000);
  assert.equal(context.told.slice(5), ['/run/n: STOPPING=1 STATUS=stopping']);
});

test("another process's watchdog, and a time that is no number, are ignored", async (context) => {
  for (const environment of [
    { WATCHDOG_USEC: '120000000', WATCHDOG_PID: String(process.pid + 1) },
    { WATCHDOG_USEC: '12e7' },
    { WATCHDOG_USEC: '0' },
  ]) {
    await open(context, { NOTIFY_SOCKET: '/run/n', ...environment }).ready('');
  }
  await context.clock.advance(3_600_000);
  assert.is(context.told.length, 3);
});

test('a message that cannot be sent is logged, and the next ping is sent', async (context) => {
  const manager = open(context, { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '4000000' });
  context.failure = new Error('no memory');
  await manager.ready('');
  await context.clock.advance(1_000);
  assert.match(context.logged[0]!, 'no memory');
  assert.is(context.logged.length, 2);
  context.failure = undefined;
  await context.clock.advance(1_000);
  assert.is(context.told.length, 3);
  assert.is(context.logged.length, 2);
});

test.run();
