/** Metrics, alerts and the dashboard, with a real promtool and a real Prometheus over a real run. */
import { cacheDirectory, Daemon, freePort } from '@teapot-kms/testing/daemons';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { seed } from './support/calls.ts';
import { eventually, TestSite, withClient } from './support/running-plugin.ts';

const root = join(import.meta.dirname, '../../..');
const monitoring = join(root, 'k8s/monitoring');
const programs = join(cacheDirectory, 'prometheus');
const promtool = join(programs, 'promtool');

interface Rule {
  alert: string;
  expr: string;
  annotations: { summary: string; runbook: string };
}
interface Dashboard {
  panels: { title: string; targets: { expr: string }[] }[];
}
interface Answer {
  status: string;
  error?: string;
  data: { result: unknown[]; groups: { rules: { name: string; health: string; state: string }[] }[] };
}

const { groups } = parse(readFileSync(join(monitoring, 'alerts.yaml'), 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(readFileSync(join(monitoring, 'dashboard.json'), 'utf8')) as Dashboard;

const documents = suite('alerts');

documents('each alert has a section of the runbooks, and each section an alert', () => {
  const headings = [...readFileSync(join(root, 'docs/runbooks.md'), 'utf8').matchAll(/^## (\w+)$/gm)].map(
    ([, name]) => name,
  );
  assert.equal(
    headings,
    rules.map(({ alert }) => alert),
  );
  for (const { alert, annotations } of rules) assert.is(annotations.runbook, `docs/runbooks.md#${alert.toLowerCase()}`);
});

documents('each alert has a unit test', () => {
  const { tests } = parse(readFileSync(join(monitoring, 'alerts.test.yaml'), 'utf8')) as { tests: { name: string }[] };
  assert.equal(tests.map(({ name }) => name).sort(), rules.map(({ alert }) => alert).sort());
});
documents.run();

const test = suite('prometheus');
const site = new TestSite();
let port = 0;
let prometheus: Daemon | undefined;
let url = '';

test.before(async () => {
  site.generate('main');
  port = await freePort();
  site.writeConfig([site.instance('main')], `http: { port: ${port} }\nshutdownGrace: 3s\n`);
  await site.serve();
});
test.after(async () => {
  await prometheus?.kill();
  await site.remove();
});

const ask = async (path: string): Promise<Answer> => (await fetch(`${url}/api/v1/${path}`)).json() as Promise<Answer>;
const query = (expression: string) => ask(`query?query=${encodeURIComponent(expression)}`);

test('promtool has nothing to say about the metrics', async () => {
  const input = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input, encoding: 'utf8' });
  assert.equal([status, stdout, stderr], [0, '', '']);
});

test('promtool accepts the alerts, and each is silent before its cause and fires after it', () => {
  execFileSync(promtool, ['check', 'rules', 'alerts.yaml'], { cwd: monitoring });
  const { status, stdout, stderr } = spawnSync(promtool, ['test', 'rules', 'alerts.test.yaml'], {
    cwd: monitoring,
    encoding: 'utf8',
  });
  assert.is(status, 0, stdout + stderr);
});

/** Name and labels of each series that an alert reads and the text does not have. */
const lackingIn = (text: string): string[] =>
  rules.flatMap(({ expr }) =>
    [...expr.matchAll(/\b((?:teapot_kms|process)_\w+)(?:\{([^}]*)\})?/g)].flatMap(([, name = '', labels = '']) => {
      const wanted = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => `${label!}="${value!}"`);
      const series = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return series.some((line) => wanted.every((label) => line.includes(label))) ? [] : [`${name} ${wanted.join()}`];
    }),
  );

test('every series that an alert reads is there before anything has happened', () =>
  // Those of keys, when the keys are loaded.
  eventually(async () => {
    assert.equal(lackingIn(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()), []);
  }));

test('a real Prometheus evaluates every alert, and no alert fires on a healthy plugin', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  url = `http://${address}`;
  const directory = site.path('prometheus');
  mkdirSync(directory);
  const configuration = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [join(monitoring, 'alerts.yaml')],
    scrape_configs: [{ job_name: 'teapot-kms', static_configs: [{ targets: [`127.0.0.1:${port}`] }] }],
  };
  writeFileSync(join(directory, 'prometheus.yml'), JSON.stringify(configuration));
  const args = [
    `--config.file=${directory}/prometheus.yml`,
    `--storage.tsdb.path=${directory}/data`,
    `--web.listen-address=${address}`,
  ];
  prometheus = new Daemon({
    name: 'prometheus',
    command: join(programs, 'prometheus'),
    args,
    logFile: join(directory, 'log'),
  });
  await withClient(site.socket('main'), async (client) => {
    const { ciphertext, keyId } = await client.encrypt(seed(), 'uid');
    await client.decrypt(ciphertext, keyId, 'uid');
  });
  await eventually(async () => {
    prometheus!.checkRunning();
    const { data } = await query('rate(teapot_kms_requests_total{method="Decrypt",code="OK"}[1m])');
    assert.ok(data.result.length > 0);
  });
  await eventually(async () => {
    const { data } = await ask('rules');
    const all = data.groups.flatMap((group) => group.rules);
    assert.is(all.length, rules.length);
    for (const { name, health, state } of all) assert.equal([name, health, state], [name, 'ok', 'inactive']);
  });
});

for (const { title, targets } of dashboard.panels) {
  test(`the panel "${title}" of the dashboard has data`, async () => {
    for (const { expr } of targets) {
      const asked = expr.replaceAll('$__rate_interval', '1m').replace(/\$(job|node|instance)\b/g, '.*');
      assert.not.match(asked, '$');
      const { status, error, data } = await query(asked);
      assert.is(status, 'success', error);
      assert.ok(data.result.length > 0, asked);
    }
  });
}

if (existsSync(promtool)) test.run();
else console.log('SKIPPED Prometheus: bash scripts/debian-programs.sh prometheus prometheus');
