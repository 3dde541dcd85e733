import { unavailable } from '../../../errors.ts';
import type { KmsError } from '../../../errors.ts';
import { isTrue } from './cloud.ts';
import type { Fields } from './cloud.ts';

/** The variables of each `[section]`. Names are in lower case. Of two variables with one name, the later wins. */
export type IniSections = ReadonlyMap<string, ReadonlyMap<string, string>>;

/**
 * Parses a `cloud.conf` of cloud-provider-openstack: the INI format of git-config, as gcfg reads it. `;` and `#` begin a comment. Values
 * may be quoted, in whole or in part. `\"`, `\\`, `\n`, `\t` and a backslash at the end of a line mean the same as in git. A name without
 * a value is `true`. Names of sections and variables are case-insensitive.
 *
 * @param where - the file, for errors
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` with the line number, but not the line: it may hold a password
 */
export function parseIni(text: string, where: string): IniSections {
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  for (let index = 0; index < lines.length; index++) {
    const number = index + 1;
    let line = lines[index]!.trim();
    if (line === '' || line.startsWith('#') || line.startsWith(';')) continue;
    const header = /^\[\s*([A-Za-z0-9.-]+)\s*(?:"((?:[^"\\]|\\.)*)")?\s*\]\s*(?:[#;].*)?$/.exec(line);
    if (header) {
      const name = header[2] === undefined ? header[1]!.toLowerCase() : `${header[1]!.toLowerCase()} ${header[2]}`;
      section = sections.get(name) ?? new Map<string, string>();
      sections.set(name, section);
      continue;
    }
    const variable = /^([A-Za-z][A-Za-z0-9_-]*)\s*(?:=\s*([^]*)|[#;].*)?$/.exec(line);
    if (!variable || !section) throw problem(where, number, section ? 'expected NAME = VALUE' : 'expected a [section]');
    let value = variable[2];
    while (value !== undefined && endsWithContinuation(value)) {
      line = lines[++index] ?? '';
      value = `${value.slice(0, -1)}${line}`;
    }
    section.set(variable[1]!.toLowerCase(), value === undefined ? 'true' : parseValue(value, where, number));
  }
  return sections;
}

function endsWithContinuation(value: string): boolean {
  return (/\\*$/.exec(value)?.[0].length ?? 0) % 2 === 1;
}

const ESCAPES: Record<string, string> = { '"': '"', '\\': '\\', n: '\n', t: '\t' };

function parseValue(text: string, where: string, line: number): string {
  let value = '';
  // Blanks at the end are cut off, but not before this position: quoted text is kept.
  let kept = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!;
    if (char === '\\') {
      const escaped = ESCAPES[text[++at] ?? ''];
      if (escaped === undefined) throw problem(where, line, 'an unknown escape; a backslash is written \\\\');
      value += escaped;
      kept = value.length;
    } else if (char === '"') {
      quoted = !quoted;
      kept = value.length;
    } else if (!quoted && (char === '#' || char === ';')) {
      break;
    } else {
      value += char;
      if (quoted) kept = value.length;
    }
  }
  if (quoted) throw problem(where, line, 'a quote that is not closed');
  return value.slice(0, kept) + value.slice(kept).trimEnd();
}

/** Fields with another name in cloud.conf; with a trust, the trustee logs in. */
const NAMES: Readonly<Record<string, string>> = { insecure: 'tls-insecure' };
const TRUSTEE: Readonly<Record<string, string>> = { ...NAMES, user_id: 'trustee-id', password: 'trustee-password' };

/** The login in `[Global]`. Its other variables belong to other programs. */
export function fieldsOfCloudConf(sections: IniSections): Fields {
  const global = sections.get('global');
  const names = global?.get('trust-id') ? TRUSTEE : NAMES;
  return (name) => global?.get(names[name] ?? '') || global?.get(name.replaceAll('_', '-'));
}

/** Reads `use-clouds`: a clouds.yaml then gives what cloud.conf itself does not. */
export function cloudsOfCloudConf(sections: IniSections): { file?: string; cloud?: string } | undefined {
  const global = sections.get('global');
  if (!isTrue(global?.get('use-clouds') ?? '')) return undefined;
  const [file, cloud] = [global?.get('clouds-file'), global?.get('cloud')];
  return { ...(file && { file }), ...(cloud && { cloud }) };
}

/** Reads `[KeyManager] key-id`, the one key of barbican-kms-plugin. It is not checked. */
export function legacyKeyOfCloudConf(sections: IniSections): string | undefined {
  return sections.get('keymanager')?.get('key-id') || undefined;
}

function problem(where: string, line: number, what: string): KmsError {
  return unavailable(`${where}:${line}: ${what}`, { remedy: `correct line ${line} of ${where}` });
}
