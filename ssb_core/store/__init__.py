"""The store of results: shards, sidecars and manifests in one directory, or at one URL.

    store/format.json                                     version of this layout
    store/<stage>/<recipe>/recipe.json                    how rows are made, for readers
    store/<stage>/<recipe>/writer.lock                    the process that writes here now (`lock`)
    store/<stage>/<recipe>/shards/<name>.parquet          rows of a few problems; the name is a digest of the problems
    store/<stage>/<recipe>/shards/<name>.json             sidecar: rows, size, checksum, problem ids, source checksum
    store/<stage>/<recipe>/<fingerprint>/...              files of a request that are not shards, such as an adapter
    store/<stage>/<recipe>/<fingerprint>.<version>.work/  unfinished work that outlives a kill, such as checkpoints
    store/<stage>/<recipe>/seconds/<fingerprint>.json     how long one request took
    store/<stage>/<recipe>/manifests/<fingerprint>.json   the files of one request; it is written last

A file is written under a temporary name, fsynced and renamed, so a file that exists is complete. Every shard is checked
against its checksum when it is read. A damaged file is set aside (renamed to ``*.damaged``) with a warning, and only
that file is made again.

A store at a URL (`remote`) is a directory on this machine whose finished files are uploaded there, and downloaded when
they are read; a store in a directory alone (`local`) has the same methods (`backend`). The store knows nothing about
stages. All its paths are in `layout`.
"""

from .files import (
    UNREADABLE,
    atomic_write,
    delete_temporary,
    fsync,
    obstacle_to_writing,
    raise_system_error,
    sha256_file,
    write_json,
    write_text,
)
from .layout import Layout
from .manifest import FileEntry, ListedFile, Manifest, Recipe, Sidecar, digest
from .store import Store

__all__ = (
    "UNREADABLE",
    "FileEntry",
    "Layout",
    "ListedFile",
    "Manifest",
    "Recipe",
    "Sidecar",
    "Store",
    "atomic_write",
    "delete_temporary",
    "digest",
    "fsync",
    "obstacle_to_writing",
    "raise_system_error",
    "sha256_file",
    "write_json",
    "write_text",
)
