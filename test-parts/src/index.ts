export { Daemon } from './daemon.ts';
export type { DaemonOptions, Exit } from './daemon.ts';
export { freePort } from './ports.ts';
export { figure, Hopeless, say, timed, until } from './until.ts';
export { KeystoneAdmin } from './keystone-admin.ts';
export { missingOpenStack, OpenStack } from './openstack.ts';
export type { OpenStackOptions, OpenStackState } from './openstack.ts';
export { HttpProxy } from './http-proxy.ts';
export type { HttpFault, SeenRequest } from './http-proxy.ts';
