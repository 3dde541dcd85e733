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
    if (/^([#;]|$)/.test(line)) continue;
    // No two blanks of any number side by side: such a pattern takes quadratic time.
    const header = /^\[\s*([A-Za-z0-9.-]+)\s*(?:("(?:[^"\\]|\\.)*")\s*)?\]\s*(?:[#;].*)?$/.exec(line);
    if (header) {
      const name = `${header[1]!.toLowerCase()}${header[2] ?? ''}`;
      section = sections.get(name) ?? new Map<string, string>();
      sections.set(name, section);
      continue;
    }
    const parts = [line];
    while (CONTINUED.test(parts.at(-1)!)) parts.push(lines[++index] ?? '');
    line = parts.join('\n');
    const variable = /^([A-Za-z][A-Za-z0-9_-]*)\s*(?:=\s*(.*)|[#;].*)?$/s.exec(line);
    if (!variable || !section) throw problem(where, number, section ? 'expected NAME = VALUE' : 'expected a [section]');
    const [, name = '', value] = variable;
    section.set(name.toLowerCase(), value === undefined ? 'true' : parseValue(value, where, number));
  }
  return sections;
}

/** Ends with a backslash that no other backslash escapes. */
const CONTINUED = /(?<!\\)(\\\\)*\\$/;
/** A value and what quotes, escapes and other characters it is made of. A comment may follow. */
const VALUE = /^((?:"(?:[^"\\]|\\.)*"|[^"\\#;]|\\.)*)(?:[#;].*)?$/s;
const ESCAPES: Record<string, string> = { '\\"': '"', '\\\\': '\\', '\\n': '\n', '\\t': '\t', '\\\n': '', '"': '' };

function parseValue(text: string, where: string, line: number): string {
  const value = VALUE.exec(text)?.[1];
  if (value === undefined) throw problem(where, line, 'a quote that is not closed');
  return withoutEnd(value).replace(/\\.|"/gs, (one) => {
    const meant = ESCAPES[one];
    if (meant === undefined) throw problem(where, line, 'an unknown escape; a backslash is written \\\\');
    return meant;
  });
}

/** Without the blanks and continued lines at its end. A pattern that looks for them takes quadratic time. */
function withoutEnd(value: string): string {
  let end = value.length;
  while (end > 0 && /\s/.test(value[end - 1]!)) {
    end--;
    if (value[end] === '\n' && value[end - 1] === '\\') end--;
  }
  return value.slice(0, end);
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
