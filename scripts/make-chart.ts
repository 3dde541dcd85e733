/**
 * Makes the templates and the schema of the Helm chart from the manifests in k8s/tenants, so that the two cannot differ:
 * `npm run chart`, or `npm run chart -- --check`, which fails where a file would change. Comments in the manifests say what
 * differs in the chart:
 *
 *     key: value # helm: TEXT     the value is TEXT
 *     # helm| TEXT                a line, at this indentation unless it begins with {{-
 *     # helm< TEXT                the same, and what follows is left out, up to a line "# helm>" or the end
 *     # helm+ FILE                the containers of a patch
 */
import { configJsonSchema } from '@teapot-kms/server';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { root, version } from './package/release.ts';

const TENANTS = join(root, 'k8s/tenants');
const CHART = join(root, 'k8s/chart');
const SOURCES = ['rbac.yaml', 'config.yaml', 'daemonset.yaml', 'metrics/monitor.yaml'];

function templateOf(text: string): string {
  const lines: string[] = [];
  let leftOut = false;
  for (const line of text.trimEnd().split('\n')) {
    const [, indentation = '', mark, argument = ''] = /^( *)# helm([|<>+]) ?(.*)$/.exec(line) ?? [];
    const [, value, template] = /^([^#]*?[:-] )[^#]*# helm: (.*)$/.exec(line) ?? [];
    if (mark === '>') leftOut = false;
    else if (mark === '+') lines.push(containersOf(argument));
    else if (mark !== undefined) lines.push(argument.startsWith('{{-') ? argument : indentation + argument);
    else if (leftOut) continue;
    else lines.push(value === undefined ? line : value + template!);
    if (mark === '<') leftOut = true;
  }
  return `${lines.join('\n')}\n`;
}

function containersOf(patch: string): string {
  const [, containers = ''] = readFileSync(join(TENANTS, patch), 'utf8').split(/^ +containers:\n/m);
  return templateOf(containers).trimEnd();
}

/** The schema of `values.yaml`; `config` is the plugin's own schema. */
function schema(): object {
  const { $schema, ...config } = configJsonSchema() as { $schema: string; properties: Record<string, object> };
  const object = { type: 'object' };
  const list = { type: 'array', items: object };
  const text = { type: 'string', minLength: 1 };
  const settings = (properties: object) => ({ type: 'object', additionalProperties: false, properties });
  const port = { type: 'integer', minimum: 1, maximum: 65_535 };
  // The kubelet and the proxy ask on the loopback port.
  config.properties['http'] = settings({ port });
  return {
    $schema,
    type: 'object',
    required: ['config'],
    additionalProperties: false,
    properties: {
      global: object,
      config,
      image: settings({
        repository: text,
        tag: { type: 'string' },
        pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
      }),
      runAsUser: { type: 'integer', minimum: 0 },
      priorityClassName: text,
      nodeSelector: object,
      tolerations: list,
      resources: object,
      extraEnv: list,
      extraVolumes: list,
      extraVolumeMounts: list,
      metrics: settings({
        enabled: { type: 'boolean' },
        port,
        proxyImage: text,
        labels: object,
      }),
    },
  };
}

const CHART_YAML = `# npm run chart
apiVersion: v2
name: teapot-kms
description: KMS plugin for the kube-apiservers of tenants, which run on nodes of this cluster
type: application
version: ${version}
appVersion: ${version}
kubeVersion: '>=1.28.0-0'
`;

/** The alerts, as the Prometheus Operator takes them. */
function prometheusRule(): string {
  const groups = readFileSync(join(root, 'k8s/monitoring/alerts.yaml'), 'utf8')
    .split(/^groups:$/m)[1]!
    .trimEnd();
  return `# npm run chart makes this from k8s/monitoring/alerts.yaml
# helm| {{- if .Values.metrics.enabled }}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: teapot-kms
  namespace: teapot-kms # helm: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: teapot-kms
# helm| {{- with .Values.metrics.labels }}
# helm| {{- toYaml . | nindent 4 }}
# helm| {{- end }}
spec:
  groups:${groups.replaceAll('\n', '\n  ')}
# helm| {{- end }}
`;
}

/** Prometheus's own templates pass through Helm's. */
const escaped = (rule: string): string =>
  templateOf(rule.replaceAll('{{ $', '\u0001')).replaceAll('\u0001', '{{ "{{" }} $');

const files = new Map([
  ['../tenants/metrics/alerts.yaml', prometheusRule()],
  ['templates/alerts.yaml', escaped(prometheusRule())],
  ['Chart.yaml', CHART_YAML],
  ['values.schema.json', `${JSON.stringify(schema(), undefined, 2)}\n`],
  ...SOURCES.map((file): [string, string] => [
    `templates/${basename(file)}`,
    `{{- /* npm run chart makes this from k8s/tenants/${file} */}}\n${templateOf(readFileSync(join(TENANTS, file), 'utf8'))}`,
  ]),
]);

const check = process.argv.includes('--check');
for (const [name, text] of files) {
  const file = join(CHART, name);
  if (check && readFileSync(file, 'utf8') !== text) {
    console.error(`k8s/chart/${name} is not what k8s/tenants makes it: run "npm run chart"`);
    process.exitCode = 1;
  }
  if (check) continue;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}
