import { systemClock } from '@teapot-kms/core';
import type { Command } from 'commander';
import { hostname } from 'node:os';
import { isatty } from 'node:tty';
import type { Logger } from 'pino';
import { readConfigText, parseConfig } from '../config/load.ts';
import { watchConfig } from '../config/watch.ts';
import { AuditFile } from '../observability/audit-file.ts';
import { AuditLog } from '../observability/audit-log.ts';
import { LogOutput, stderrWriter } from '../observability/log-output.ts';
import { createLogger, describeError } from '../observability/logging.ts';
import { ServiceManager } from '../observability/service-manager.ts';
import type { Config } from '../config/schema.ts';
import { Plugin } from '../plugin.ts';
import { version } from '../version.ts';
import { ExitCode } from './exit-codes.ts';

export function registerServe(program: Command): void {
  program
    .command('serve')
    .description('Run the plugin with all instances of the configuration, until SIGTERM')
    .requiredOption('-c, --config <file>', 'the configuration (YAML; "config schema" prints its schema)')
    .option('--take-over', 'replace a plugin that already serves the same sockets, without a gap', false)
    .addHelpText(
      'after',
      `
Logs are JSON lines on stderr, or text if that is a terminal. A changed configuration takes effect at once, or is refused as a whole. SIGHUP reads it now,
and opens the audit log again.
After SIGTERM or SIGINT calls under way finish, clients are asked to reconnect, keys are wiped, and the exit code is 0. A second
signal ends the process at once. The sockets open before the key stores answer, so services can start in any order.`,
    )
    .action(serve);
}

function serve({ config: file, takeOver }: { config: string; takeOver: boolean }): Promise<void> {
  return runPlugin(readConfigText(file), file, { takeOver, watch: true });
}

const STDERR = 2;
/** Time in ms for the last log lines to be written at the end. */
const LAST_LINES_MS = 200;

/**
 * Runs the plugin until a signal ends it.
 * @param text - the configuration
 * @param source - its name in logs; with `watch`, the file that is watched for changes
 * @throws {@link ConfigError}
 */
export async function runPlugin(text: string, source: string, { takeOver = false, watch = false } = {}): Promise<void> {
  const config = parseConfig(text, source);
  const output = new LogOutput(stderrWriter());
  const { level, format } = config.log;
  const log = createLogger(level, output, format === 'text' || (format === 'auto' && isatty(STDERR)));
  const audit = openAudit(config, log);
  logWarnings(log);
  // First of all, so that no child process has its variables.
  const manager = new ServiceManager(process.env, log, systemClock);
  const droppedLines = (): number => output.dropped + (audit?.output.dropped ?? 0);
  const plugin = new Plugin(config, log, { droppedLines, audit: audit?.log });
  log.info({ version, node: process.version, config: source, instances: config.instances.length }, 'starting');
  audit?.log.write('started', { version, pid: process.pid, host: hostname() });
  warnIfDebuggable(log);
  warnIfTlsVariable(log);
  try {
    await plugin.start(takeOver);
  } catch (error) {
    log.error({ error: describeError(error) }, 'cannot start');
    await plugin.stop();
    await output.end(LAST_LINES_MS);
    process.exitCode = ExitCode.FAILED;
    return;
  }
  const watched = watch ? watchConfig(source, text, { onChange, onInvalid }) : undefined;
  process.on('SIGHUP', () => {
    watched?.check();
    audit?.file.reopen();
  });
  process.on('unhandledRejection', endForDefect);
  process.on('uncaughtException', endForDefect);
  let stopping = false;
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  await manager.ready(`serving ${config.instances.length} instances of ${source}`);

  function endForDefect(error: unknown): void {
    log.fatal({ error: describeError(error) }, 'a defect of the plugin; please report it');
    end(ExitCode.FAILED);
  }

  function onChange(changed: Config): void {
    plugin.metrics.configReloaded('taken');
    audit?.log.write('configuration', { result: 'taken' });
    void plugin.apply(changed);
  }

  function onInvalid(error: Error): void {
    plugin.metrics.configReloaded('refused');
    audit?.log.write('configuration', { result: 'refused' });
    log.error(
      { error: describeError(error) },
      'the changed configuration is refused; the configuration in force stays',
    );
  }

  function stop(signal: NodeJS.Signals): void {
    if (stopping) process.exit(ExitCode.FAILED);
    stopping = true;
    log.info({ signal }, 'stopping');
    watched?.stop();
    void manager.stopping();
    plugin.stop().then(
      () => {
        log.info('stopped cleanly');
        end(ExitCode.OK);
      },
      (error: unknown) => {
        log.error({ error: describeError(error) }, 'stopped with an error');
        end(ExitCode.FAILED);
      },
    );
  }

  function end(code: number): void {
    audit?.log.write('stopped', { pid: process.pid, code });
    const outputs = audit ? [output, audit.output] : [output];
    void Promise.all(outputs.map((one) => one.end(LAST_LINES_MS))).then(() => process.exit(code));
  }
}

/** The audit log, if the configuration has one. */
function openAudit({ audit }: Config, log: Logger) {
  if (audit === false) return undefined;
  const file = new AuditFile(audit.file, (error) =>
    log.error({ error: describeError(error) }, 'the audit log cannot be opened; its lines wait'),
  );
  const output = new LogOutput(file.write);
  return { file, output, log: new AuditLog(output, { calls: audit.calls, clock: systemClock }) };
}

/** Node would write its warnings to stderr itself, and wait for a pipe that stands still. */
function logWarnings(log: Logger): void {
  process.removeAllListeners('warning');
  process.on('warning', (warning) => log.warn({ warning: describeError(warning) }, 'a warning of Node.js'));
}

/** A debugger could read the keys (design D12). */
function warnIfDebuggable(log: Logger): void {
  const flag = '--disable-sigusr1';
  if (process.execArgv.includes(flag) || process.env['NODE_OPTIONS']?.includes(flag)) return;
  log.warn(`SIGUSR1 opens a debugger, which can read the keys; run node with ${flag}`);
}

/** Every client of the plugin decides for itself whether it checks certificates. */
function warnIfTlsVariable(log: Logger): void {
  if (process.env['NODE_TLS_REJECT_UNAUTHORIZED'] !== '0') return;
  log.warn('NODE_TLS_REJECT_UNAUTHORIZED=0 is ignored: the plugin checks certificates. Remove the variable');
}
