import { unpackTar } from 'modern-tar';
import { readFileSync, writeFileSync } from 'node:fs';
import { architecture, version } from '../release.ts';
import { digestOf, tarOf } from './layer.ts';
import type { Entry, Layer } from './layer.ts';

/*
 * The OCI image format (https://github.com/opencontainers/image-spec, version 1.1): config.md, manifest.md, image-layout.md.
 */
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly architecture: string; readonly os: string };
}

/** What an image is: its layers from the lowest one, and what `config.md` calls the configuration. */
export interface Image {
  readonly created: string;
  readonly config: object;
  readonly layers: readonly Layer[];
}

/** Where a container runtime without a registry finds the image. Nobody can publish another one under this name. */
export const IMAGE_NAME = `localhost/teapot-kms:${version}`;

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const blobPath = (digest: string): string => `blobs/${digest.replace(':', '/')}`;

/**
 * Writes an image as a tar archive of an OCI layout, which podman, skopeo, containerd and Docker 25 load.
 * @returns the digest of its manifest
 */
export async function writeImage({ created, config, layers }: Image, file: string): Promise<string> {
  const blobs = new Map<string, Uint8Array>();
  const put = (mediaType: string, bytes: Uint8Array): Descriptor => {
    const digest = digestOf(bytes);
    blobs.set(blobPath(digest), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const platform = { architecture: architecture.debian, os: 'linux' };
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  const described = put(CONFIG, json({ created, ...platform, config, rootfs }));
  const manifest = put(
    MANIFEST,
    json({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: described,
      layers: layers.map(({ blob }) => put(LAYER, blob)),
    }),
  );
  const annotations = { 'org.opencontainers.image.ref.name': version, 'io.containerd.image.name': IMAGE_NAME };
  const index = { schemaVersion: 2, mediaType: INDEX, manifests: [{ ...manifest, platform, annotations }] };
  const files: Entry[] = [
    { path: 'oci-layout', mode: 0o644, content: json({ imageLayoutVersion: '1.0.0' }) },
    { path: 'index.json', mode: 0o644, content: json(index) },
    { path: 'blobs', mode: 0o755 },
    { path: 'blobs/sha256', mode: 0o755 },
    ...[...blobs.keys()].sort().map((path) => ({ path, mode: 0o644, content: blobs.get(path)! })),
  ];
  writeFileSync(file, await tarOf(files));
  return manifest.digest;
}

/**
 * Reads the layers of the image for this machine out of a tar archive of an OCI layout.
 * @throws Error if the archive has no image for this machine, or a blob is not what its digest says
 */
export async function readLayers(file: string): Promise<Layer[]> {
  const entries = await unpackTar(readFileSync(file), { strict: true });
  const content = new Map(entries.map(({ header, data }) => [header.name.replace(/^\.\//, ''), data]));
  const read = (path: string): Buffer => {
    const data = content.get(path);
    if (!data) throw new Error(`${file}: ${path} is missing; expected an OCI archive, as "skopeo copy" writes it`);
    return Buffer.from(data.buffer, data.byteOffset, data.length);
  };
  const blob = ({ digest }: Descriptor): Buffer => {
    const bytes = read(blobPath(digest));
    if (digestOf(bytes) !== digest) throw new Error(`${file}: the blob ${digest} has other content`);
    return bytes;
  };
  const parse = (bytes: Buffer): unknown => JSON.parse(bytes.toString('utf8'));
  let { manifests } = parse(read('index.json')) as { manifests: Descriptor[] };
  for (;;) {
    const fitting = manifests.find(({ platform }) => !platform || platform.architecture === architecture.debian);
    if (!fitting) throw new Error(`${file} has no image for ${architecture.debian}`);
    if (fitting.mediaType === INDEX) {
      ({ manifests } = parse(blob(fitting)) as { manifests: Descriptor[] });
      continue;
    }
    const { config, layers } = parse(blob(fitting)) as { config: Descriptor; layers: Descriptor[] };
    const { rootfs } = parse(blob(config)) as { rootfs: { diff_ids: string[] } };
    const other = layers.find(({ mediaType }) => !mediaType.endsWith('gzip'));
    if (other) throw new Error(`${file}: expected layers with gzip, found ${other.mediaType}`);
    return layers.map((layer, index) => ({ blob: blob(layer), diffId: rootfs.diff_ids[index]! }));
  }
}
