import type { Table } from '../results.ts';
import type { Capture } from './capture.ts';
import { OURS } from './owner.ts';
import { summarise } from './summary.ts';

const TOP = 10;

/** Renders a capture as two tables: the time by owner of the code, and the functions with the most self time. */
export function profileTables({ nodes, calls }: Capture): Omit<Table, 'scenario'>[] {
  const { busy, busyShare, owners, functions } = summarise(nodes);
  const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;
  return [
    {
      name: `Whose code the time of its main thread is spent in (${calls.toLocaleString('en-US')} calls; it was busy for ${percent(busyShare)} of the time)`,
      columns: ['whose', 'share', 'µs a call'],
      rows: owners.map(({ owner, share }) => [
        owner === OURS ? `**${owner}**` : owner,
        percent(share),
        ((share * busy) / calls).toFixed(1),
      ]),
    },
    {
      name: `The ${TOP} functions that take most themselves`,
      columns: ['function', 'where', 'whose', 'share'],
      rows: functions.slice(0, TOP).map(({ name, where, owner, share }) => [name, where, owner, percent(share)]),
    },
  ];
}
