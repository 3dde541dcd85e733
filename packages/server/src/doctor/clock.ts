import { MAX_SKEW_MS, safeText } from '@teapot-kms/core';
import type { Finding, ReplicaReport, StoredManifest } from '@teapot-kms/core';
import { readFileSync } from 'node:fs';

const DAY_MS = 24 * 3_600_000;

/** What shows without a network whether the clock of this host is right. */
export interface ClockEvidence {
  /** None of them was changed in the future. */
  readonly manifests: readonly StoredManifest[];
  /** Made by the clocks of other hosts. */
  readonly reports: readonly ReplicaReport[];
  /** Time since the Unix epoch in ms that the hardware clock has. Default: that of this host, if it has one. */
  readonly hardware?: number | undefined;
  /** The clock of this host: ms since the Unix epoch. */
  readonly now: number;
}

/** A clock that is far off makes certificates and tokens invalid, and orders keysets of version 1 wrongly. */
export function clockFindings({ manifests, reports, hardware = hardwareClock(), now }: ClockEvidence): Finding[] {
  const changes = manifests.flatMap(({ keys }) => keys.map(({ since }) => Date.parse(since)));
  const latest = Math.max(...changes);
  return [
    ...byChange(now, latest),
    ...byHardware(now, changes.length > 0 ? latest : Infinity, hardware),
    ...reports.flatMap((report) => byReport(now, report)),
  ];
}

function byChange(now: number, latest: number): Finding[] {
  if (latest <= now + DAY_MS) return [];
  const text = `it is ${shown(now)} here, and a keyset was changed at ${shown(latest)}`;
  const remedy =
    'set the clock of this host, and synchronize it (NTP). If it is right, set that of the host that changed the keyset';
  return [{ level: 'problem', about: 'clock', text, remedy }];
}

/** A hardware clock without a battery starts in the past: one that is behind the last change says nothing. It may show local time. */
function byHardware(now: number, latest: number, hardware: number | undefined): Finding[] {
  if (hardware === undefined || hardware < latest || Math.abs(now - hardware) <= DAY_MS) return [];
  const text = `it is ${shown(now)} here, and ${shown(hardware)} by the hardware clock`;
  const remedy = 'set the one that is wrong ("timedatectl" shows both), and synchronize the clock (NTP)';
  return [{ level: 'hint', about: 'clock', text, remedy }];
}

function byReport(now: number, { host: given, time }: ReplicaReport): Finding[] {
  const host = safeText(given, 253);
  const ageMs = now - Date.parse(time);
  if (ageMs >= -MAX_SKEW_MS && ageMs <= DAY_MS) return [];
  const text = `it is ${shown(now)} here, and the report of ${host} is of ${time}`;
  const setRemedy = `set the clock that is wrong, here or on ${host}, and synchronize it (NTP)`;
  const againRemedy = `make a new report on ${host}; if its time still differs, ${setRemedy}`;
  return [{ level: 'problem', about: 'clock', text, remedy: ageMs < 0 ? setRemedy : againRemedy }];
}

/** In ms (Documentation/ABI/testing/sysfs-class-rtc of Linux). */
function hardwareClock(): number | undefined {
  try {
    const seconds = readFileSync('/sys/class/rtc/rtc0/since_epoch', 'latin1').trim();
    return /^\d{1,12}$/.test(seconds) ? 1000 * Number(seconds) : undefined;
  } catch {
    // Not every host has one.
    return undefined;
  }
}

const shown = (ms: number): string => new Date(ms).toISOString();
