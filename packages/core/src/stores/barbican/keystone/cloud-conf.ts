import { KmsError } from '../../../errors.ts';
import { fieldsOf, isTrue, mergeFields } from './fields.ts';
import type { CloudFields } from './fields.ts';

/** `[section]` to its variables, names in lower case; a later one of the same name wins. */
export type IniSections = ReadonlyMap<string, ReadonlyMap<string, string>>;

/**
 * Parses git-config's INI, as gcfg does and with it cloud-provider-openstack (`cloud.conf`): `;` and `#` begin a comment, values may
 * be quoted in whole or in part, `\"`, `\\`, `\n`, `\t` and a backslash at the end of a line mean what they do in git, a name
 * alone is `true`. Names of sections and variables have no case.
 *
 * @param where - what errors name
 * @throws {@link KmsError} `ERR_KMS_STORE_UNAVAILABLE` with the line; never with what stands there, which may be a password
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
  // Up to here the value stays when blanks at its end are cut off: what was quoted is kept.
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

/** `[Global]` of a cloud.conf. Variables that are not about logging in are other programs'. */
export function fieldsOfCloudConf(sections: IniSections): CloudFields {
  const get = (name: string) => sections.get('global')?.get(name.replaceAll('_', '-')) || undefined;
  const trustee = get('trust-id') === undefined ? {} : { userId: get('trustee-id'), password: get('trustee-password') };
  const insecure = get('tls-insecure');
  return { ...mergeFields(trustee, fieldsOf(get)), ...(insecure && { insecure: isTrue(insecure) }) };
}

/** `use-clouds`: what is not in cloud.conf itself comes from a clouds.yaml. */
export function cloudsOfCloudConf(sections: IniSections): { file?: string; cloud?: string } | undefined {
  const global = sections.get('global');
  if (!isTrue(global?.get('use-clouds') ?? '')) return undefined;
  const [file, cloud] = [global?.get('clouds-file'), global?.get('cloud')];
  return { ...(file && { file }), ...(cloud && { cloud }) };
}

/** `[KeyManager] key-id`: the one key of barbican-kms-plugin. */
export function legacyKeyOfCloudConf(sections: IniSections): string | undefined {
  return sections.get('keymanager')?.get('key-id') || undefined;
}

function problem(where: string, line: number, what: string): KmsError {
  return new KmsError('ERR_KMS_STORE_UNAVAILABLE', `${where}:${line}: ${what}`);
}
