import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** A certificate authority in a directory, by the openssl command. */
export class Authority {
  readonly caFile: string;
  readonly #directory: string;
  #made = 0;

  constructor(directory: string) {
    mkdirSync(directory, { mode: 0o700 });
    this.#directory = directory;
    this.caFile = join(directory, 'ca.pem');
    openssl(directory, [
      ...NEW_KEY,
      '-x509',
      '-days',
      '30',
      '-subj',
      '/CN=test CA',
      '-keyout',
      'ca.key',
      '-out',
      'ca.pem',
    ]);
    writeFileSync(join(directory, 'index.txt'), '');
    writeFileSync(
      join(directory, 'ca.conf'),
      `[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:127.0.0.1,IP:0.0.0.0\n`,
    );
  }

  /** @param days - of validity from now; those of one that has expired are negative */
  issue(days = 10): Certificate {
    const name = `c${this.#made++}`;
    const [from, to] = [days < 0 ? days - 10 : -1, days].map((offset) => {
      const iso = new Date(Date.now() + offset * 86_400_000).toISOString();
      return `${iso.replace(/[-:T]/g, '').slice(0, 14)}Z`;
    });
    openssl(this.#directory, [...NEW_KEY, '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`]);
    const sign = ['ca', '-batch', '-notext', '-config', 'ca.conf', '-cert', 'ca.pem', '-keyfile', 'ca.key'];
    const dates = ['-startdate', from!, '-enddate', to!];
    openssl(this.#directory, [...sign, ...dates, '-extensions', 'e', '-in', `${name}.csr`, '-out', `${name}.pem`]);
    const [certFile, keyFile] = [join(this.#directory, `${name}.pem`), join(this.#directory, `${name}.key`)];
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  }
}

const NEW_KEY = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

function openssl(cwd: string, args: readonly string[]): void {
  execFileSync('openssl', args, { cwd, stdio: 'pipe' });
}
