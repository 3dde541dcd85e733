// What shows that a clock is off by years, in either direction, where no server says what time it is.
import type { ReplicaReport, StoredManifest } from '@teapot-kms/core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { clockFindings } from '../../src/doctor/clock.ts';

const YEAR_MS = 365 * 24 * 3_600_000;
const now = Date.parse('2026-11-29T12:00:00Z');
const at = (offsetMs: number): string => new Date(now + offsetMs).toISOString();
const changedAt = (offsetMs: number) => ({ keys: [{ since: at(offsetMs) }] }) as unknown as StoredManifest;
const reportOf = (offsetMs: number) => ({ host: 'node-2', time: at(offsetMs) }) as ReplicaReport;
const nothing = { manifests: [], reports: [], hardware: now, now };
const manifests = [changedAt(-YEAR_MS / 2)];

/** The remedies, each with the level of its finding. */
const advised = (evidence: Partial<Parameters<typeof clockFindings>[0]>): string[] =>
  clockFindings({ ...nothing, manifests, ...evidence }).map(({ level, remedy = '' }) => `${level}: ${remedy}`);

test('where everything agrees, and where there is nothing to compare with, nothing is said', () => {
  assert.equal(advised({ manifests: [] }), []);
  assert.equal(advised({ reports: [reportOf(-60_000), reportOf(30_000)], hardware: now }), []);
});

test('a keyset that was changed in the future', () => {
  const [remedy] = advised({ manifests: [changedAt(YEAR_MS)] });
  assert.match(remedy!, /^problem: set the clock of this host, .* If it is right, set that of the host that changed/);
});

test('a report of the past: it is old, or this clock is ahead, and a new report shows which', () => {
  const [remedy, ...others] = advised({ reports: [reportOf(-3 * YEAR_MS), reportOf(0)] });
  assert.match(
    remedy!,
    /^problem: make a new report on node-2; if its time still differs, set the clock that is wrong/,
  );
  assert.equal(others, []);
});

test('a report of the future: this clock is behind, or that of the replica ahead', () => {
  assert.match(
    advised({ reports: [reportOf(120_000)] })[0]!,
    /^problem: set the clock that is wrong, here or on node-2/,
  );
});

test('a hardware clock that disagrees is a hint, in either direction', () => {
  for (const hardware of [now - YEAR_MS / 3, now + YEAR_MS]) {
    assert.match(advised({ hardware })[0]!, /^hint: set the one that is wrong/);
  }
});

test('a hardware clock says nothing in another time zone, behind the last change, or without a keyset', () => {
  for (const hardware of [now + 14 * 3_600_000, now - YEAR_MS, 0]) assert.equal(advised({ hardware }), []);
  assert.equal(advised({ manifests: [], hardware: now - YEAR_MS }), []);
});

test.run();
