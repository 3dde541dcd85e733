export { Daemon } from './daemon.ts';
export type { DaemonOptions, Exit } from './daemon.ts';
export { freePort } from './ports.ts';
export { figure, Hopeless, say, timed, until } from './until.ts';
