// "teapot-kms" of the sources, for tests of rotate and migrate in which nothing writes meanwhile: --settle may be less than an old seed lives.
import { createProgram, runProgram } from '@teapot-kms/server/internal/commands';

await runProgram(createProgram({ leastSettleMs: 0 }));
