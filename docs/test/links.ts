import { withoutBlocks } from '@teapot-kms/testing';

/** A relative link of a document. Either part may be empty. */
export interface Link {
  readonly path: string;
  readonly anchor: string;
}

/** The links of a document that lead to other files here, or to its own headings. */
export function relativeLinks(markdown: string): Link[] {
  return [...withoutBlocks(markdown).matchAll(/\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].map(
    ([, path, anchor]) => ({
      path: path!,
      anchor: anchor ?? '',
    }),
  );
}

/** The anchors that GitHub gives to the headings of a document. */
export function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of withoutBlocks(markdown).matchAll(/^#{1,6} +(.+)$/gm)) {
    const text = heading!.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = text.replaceAll(/[^\p{L}\p{N}\p{M} _-]/gu, '').replaceAll(' ', '-');
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}
