/** A figure that the project promises. Its bounds apply to a single run on any machine. */
export interface FigureTarget {
  readonly unit: string;
  readonly about: string;
  /** The figure must meet this bound. If it does not, a profile must explain why. */
  readonly floor: number;
  /** The bound to reach with a transport of our own. */
  readonly goal: number;
  readonly better: 'lower' | 'higher';
}

/** All figures, by their id in the results file. */
export const FIGURES = {
  'cpu-ratio-100': {
    unit: '×',
    about: "server CPU for a Decrypt, 100 in flight: the plugin's ÷ that of the Go reference",
    floor: 6,
    goal: 0.35,
    better: 'lower',
  },
  'rps-ratio-100': {
    unit: '×',
    about: 'Decrypts a second, 100 in flight: the plugin ÷ the Go reference',
    floor: 0.15,
    goal: 1.4,
    better: 'higher',
  },
  'p50-ratio-serial': {
    unit: '×',
    about: 'median time of a Decrypt, one at a time: the plugin ÷ the Go reference',
    floor: 2.5,
    goal: 0.6,
    better: 'lower',
  },
  'rps-vs-barbican': {
    unit: '×',
    about: 'Decrypts a second: the plugin ÷ one Barbican GET and AES-CBC per call, same Barbican',
    floor: 100,
    goal: 1_000,
    better: 'higher',
  },
  'rps-vs-pkcs11': {
    unit: '×',
    about: 'Decrypts a second: the plugin ÷ two key look-ups and AES-GCM in the token per call, same SoftHSM',
    floor: 1.5,
    goal: 10,
    better: 'higher',
  },
  'unwraps-per-key': {
    unit: '×',
    about: 'token unwraps in a storm ÷ distinct wrapped keys',
    floor: 1,
    goal: 1,
    better: 'lower',
  },
  'node-reboot': {
    unit: '×',
    about: 'time of a node reboot with 500 instances ÷ (distinct keys × 5 ms ÷ 8 sessions)',
    floor: 1.5,
    goal: 1.1,
    better: 'lower',
  },
  'pool-vs-inline': {
    unit: '×',
    about: 'time with `crypto.engine: auto` ÷ inline, worst load',
    floor: 1.05,
    goal: 1,
    better: 'lower',
  },
  'apiserver-restart-v1': {
    unit: '×',
    about: 'a kube-apiserver restarted over 10,000 Secrets to a full watch cache: KMS v1 by the plugin ÷ secretbox',
    floor: 2,
    goal: 1.2,
    better: 'lower',
  },
  'flood-p99-ms': {
    unit: 'ms',
    about: 'p99 of the calls of 20 quiet tenants while another one floods its socket, worst flood',
    floor: 20,
    goal: 20,
    better: 'lower',
  },
  'start-ms': {
    unit: 'ms',
    about: 'start of the process to the first good Status, file keyset',
    floor: 400,
    goal: 100,
    better: 'lower',
  },
  'rss-mb': { unit: 'MB', about: 'resident memory, one idle instance', floor: 120, goal: 70, better: 'lower' },
  'rss-kb-per-instance': {
    unit: 'kB',
    about: 'resident memory of each further instance',
    floor: 300,
    goal: 100,
    better: 'lower',
  },
} as const satisfies Record<string, FigureTarget>;

export type FigureId = keyof typeof FIGURES;

function meets({ better }: FigureTarget, value: number, bound: number): boolean {
  return better === 'lower' ? value <= bound : value >= bound;
}

export type Verdict = 'goal met' | 'floor met' | 'BELOW THE FLOOR';

export function verdict(target: FigureTarget, value: number): Verdict {
  if (meets(target, value, target.goal)) return 'goal met';
  return meets(target, value, target.floor) ? 'floor met' : 'BELOW THE FLOOR';
}
