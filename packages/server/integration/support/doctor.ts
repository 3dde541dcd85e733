import { launcher } from '@teapot-kms/testing/daemons';
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import * as assert from 'uvu/assert';
import { teapot } from './running-plugin.ts';
import type { TestSite } from './running-plugin.ts';

/** What `doctor` says: its exit code, its output, and its remedies in order. */
export function doctor(site: TestSite, ...args: string[]) {
  const { code, stdout, stderr } = teapot('doctor', '--config', site.configFile, ...args);
  const remedies = [...stdout.matchAll(/^ {2}\d+\. (.*)$/gm)].map(([, text]) => text!);
  return { code, stdout: stdout + stderr, remedies };
}

/** The remedy that has this text. */
export function remedyOf(site: TestSite, text: string, ...args: string[]): string {
  const { stdout, remedies } = doctor(site, ...args);
  const found = remedies.find((remedy) => remedy.includes(text));
  assert.ok(found, `no remedy with ${JSON.stringify(text)}:\n${stdout}`);
  return found;
}

/** Runs a command as it is printed. @param open - what the remedy leaves open, and what the operator takes */
export function run(command: string, open: Readonly<Record<string, string>> = {}): void {
  // Without a host, cp does what scp does; and it is on every machine.
  const local = command.replace(/^scp (?=-)/, 'cp ');
  const line = Object.entries(open).reduce((text, [name, value]) => text.replaceAll(name, value), local);
  const env = { ...process.env, PATH: `${dirname(launcher())}:${process.env['PATH']}` };
  const { status, stderr } = spawnSync('/bin/sh', ['-c', line], { env, encoding: 'utf8' });
  assert.is(status, 0, `${line}: ${stderr}`);
}

/** The commands that a remedy has in parentheses, in order. */
export const commandsIn = (remedy: string): string[] =>
  [...remedy.matchAll(/\((\w(?:'[^']*'|[^()']|\([^()]*\))*)\)/g)].map(([, command]) => command!);
