// p11-kit's remote client in front of SoftHSM2: each thread that loads it has a connection, and a login, of its own.
import { fullRun, remoteKekSuite, until } from '@teapot-kms/testing';
import { P11KitServer, SoftHsm } from '@teapot-kms/testing/daemons';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'uvu';
import { generateKey } from '../../src/keyset/administration.ts';
import { LocalKekService } from '../../src/service/local-kek/local-kek-service.ts';
import { seal } from './support/rig.ts';
import { SharedResources } from '../../src/util/shared-resources.ts';
import { collectReports, newDirectory, newKek, openKek, patient, use } from './support/tokens.ts';

/** How often the server is killed. */
const ROUNDS = fullRun ? 5 : 1;

const missing = SoftHsm.missing() ?? P11KitServer.missing();
if (missing !== undefined) console.log(`SKIPPED p11-kit's remote client: ${missing}`);
else {
  const server = await P11KitServer.start(await SoftHsm.create(newDirectory()));
  test.after(() => server.kill());
  use(server);

  const shared = new SharedResources();
  // More threads than this module can use.
  const options = { token: server, directory: newDirectory(), shared, settings: { sessions: 2 } };
  const keeper = await newKek(options);
  test.after(() => keeper.close());
  remoteKekSuite(test, 'p11-kit', () => {
    const remote = openKek(options);
    const addVersion = async () => (await generateKey(remote.admin)).keyId;
    return Promise.resolve({ remote, reopen: () => Promise.resolve(openKek(options)), addVersion });
  });

  test('a module with a login for each thread gets one thread: two logins in all, said once in the log and by doctor', async () => {
    const own = collectReports();
    const settings = { sessions: 3, stateDirectory: join(newDirectory(), 'state') };
    const kek = openKek({ ...options, shared: own.shared, settings });
    const service = new LocalKekService({ remote: kek, direct: true });
    service.start();
    const answers = async () => (await service.status()).healthz === 'ok';
    await until('the token answers', answers, { everyMs: 20, timeoutMs: 40_000 });
    const work = Array.from({ length: 80 }, async () => {
      const { plaintext, ...sealed } = await seal(service);
      assert.deepEqual(await service.decrypt(sealed, patient()), plaintext);
    });
    const outcomes = await Promise.allSettled(work);
    assert.deepEqual(
      outcomes.filter(({ status }) => status === 'rejected'),
      [],
      'none of 80 was refused',
    );
    assert.equal(kek.counters()['token_logins'], 2);
    assert.deepEqual(
      own.reports.map(({ type }) => type),
      ['token-host-started', 'token-host-one-thread', 'token-host-ended', 'token-host-started'],
    );
    assert.ok(server.connections.length > 0);
    const hints = (await kek.examine(patient())).filter(({ level }) => level === 'hint');
    assert.match(
      hints.map(({ text, remedy }) => `${text}: ${remedy ?? ''}`).join('\n'),
      /^each thread .*: set sessions: 1/,
    );
    await service.close();
  });

  test('a server that is killed and started again is found again, and no PIN is in doubt', async () => {
    const kek = openKek({ ...options, shared: new SharedResources(), settings: { sessions: 2 } });
    const service = new LocalKekService({ remote: kek, direct: true, probeIntervalMs: 200 });
    service.start();
    const sealed = await until('the token seals', () => seal(service), { everyMs: 50, timeoutMs: 40_000 });
    const opens = async (): Promise<boolean> => (await service.decrypt(sealed, patient())).equals(sealed.plaintext);
    for (let round = 0; round < ROUNDS; round++) {
      await server.kill();
      await assert.rejects(opens, { code: 'ERR_KMS_STORE_UNAVAILABLE' });
      await server.start();
      await until('it opens again', opens, { everyMs: 50, timeoutMs: 60_000 });
    }
    assert.equal((await service.status()).healthz, 'ok');
    await service.close();
  });
}

test.run();
