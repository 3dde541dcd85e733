// Logs 5,000 lines of 1 KB to a stderr that may not work, and says on the IPC channel how that went.
// Then, each time the parent says so, one more line.
import { createLogger } from '../../src/observability/logging.ts';
import { LogOutput, stderrWriter } from '../../src/observability/log-output.ts';

const output = new LogOutput(stderrWriter());
const log = createLogger('info', output);
for (let i = 0; i < 5_000; i++) log.info({ i, padding: 'x'.repeat(1_000) }, 'line');
// Twice: a writer that answers later has answered by then.
setTimeout(() => process.send!({ dropped: output.dropped }), 300);
process.on('message', () => {
  log.info('one more');
  process.send!({ dropped: output.dropped });
});
process.on('SIGTERM', () => void output.end(100).then(() => process.exit(0)));
