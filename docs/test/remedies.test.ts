/**
 * docs/remedies.md has every remedy of the sources, and each test that it names exists. A remedy is found by its syntax: the value of
 * `remedy`, or the second argument of a function that makes an error or a finding with one.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertTestsExist } from './named-tests.ts';
import { root } from './run-blocks.ts';

const document = readFileSync(join(root, 'docs/remedies.md'), 'utf8').replaceAll('\\|', '|');

/** Functions that take a remedy: the index of that argument, and the files in which the name means this. */
const MAKERS: Readonly<Record<string, readonly [index: number, files: RegExp]>> = {
  hint: [1, /pkcs11\/examine/],
  problem: [2, /barbican\/examine/],
  wrong: [1, /keystone\/cloud\.ts/],
  unusable: [1, /kubeconfig|credentials/],
  failed: [1, /exec-plugin/],
  refusal: [1, /guard\.ts/],
  rule: [1, /rotation/],
  checkAll: [2, /evidence/],
  differs: [1, /replicas/],
};
/** Modules that consist of remedies. */
const ALL = /keyset\/restoring\.ts$|k8s-secret\/remedies\.ts$|util\/writable\.ts$/;

function remediesIn(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest, true);
  const constants = new Map<string, ts.Expression>();
  const found: string[] = [];

  /** The longest fixed part of each text that an expression can become. */
  function fixedParts(node: ts.Node): string[] {
    if (ts.isStringLiteralLike(node)) return [node.text];
    if (ts.isTemplateExpression(node)) {
      const parts = [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)];
      return [parts.reduce((longest, part) => (part.length > longest.length ? part : longest))];
    }
    if (ts.isIdentifier(node)) {
      const value = constants.get(node.text);
      return value ? fixedParts(value) : [];
    }
    if (ts.isConditionalExpression(node)) return [...fixedParts(node.whenTrue), ...fixedParts(node.whenFalse)];
    if (ts.isBinaryExpression(node)) return [...fixedParts(node.left), ...fixedParts(node.right)];
    if (ts.isArrowFunction(node)) return fixedParts(node.body);
    // [pattern, text, remedy]
    if (ts.isArrayLiteralExpression(node)) {
      return node.elements.flatMap((row) =>
        ts.isArrayLiteralExpression(row) && row.elements[2] ? fixedParts(row.elements[2]) : [],
      );
    }
    return [];
  }

  const isRemedy = (name: ts.Node | undefined): boolean => /remedy$/i.test(name?.getText() ?? '') || ALL.test(file);
  const visit = (node: ts.Node, inRemedy: boolean): void => {
    if (ts.isVariableDeclaration(node) && node.initializer) constants.set(node.name.getText(), node.initializer);
    const named =
      ts.isPropertyAssignment(node) ||
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node);
    if (named && node.initializer && (isRemedy(node.name) || node.name.getText() === 'PROBLEMS')) {
      found.push(...fixedParts(node.initializer));
    }
    if (ts.isReturnStatement(node) && node.expression && inRemedy) found.push(...fixedParts(node.expression));
    if (ts.isCallExpression(node)) {
      const [index, files] = MAKERS[node.expression.getText()] ?? [];
      const argument = index === undefined || !files!.test(file) ? undefined : node.arguments[index];
      if (argument) found.push(...fixedParts(argument));
    }
    const here = ts.isFunctionDeclaration(node) || ts.isGetAccessor(node) ? isRemedy(node.name) : inRemedy;
    ts.forEachChild(node, (child) => visit(child, here));
  };
  // Twice: a constant may come after its use.
  visit(source, false);
  found.length = 0;
  visit(source, false);
  return [...new Set(found.map((text) => text.trim()))].filter((text) => text.length > 3);
}

for (const file of globSync('packages/{core,server}/src/**/*.ts', { cwd: root }).sort()) {
  const remedies = remediesIn(file);
  if (remedies.length === 0) continue;
  test(`docs/remedies.md has the remedies of ${file}`, () => {
    const missing = remedies.filter((remedy) => !document.includes(remedy));
    assert.equal(missing, [], 'add a row to docs/remedies.md, and a test that follows the remedy');
  });
}

test('each test that docs/remedies.md names exists', () => assertTestsExist(document, 125));

test.run();
