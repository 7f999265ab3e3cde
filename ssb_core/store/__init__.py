"""Where results live: content-named shards, sidecars and manifests under one directory, or one URL.

    store/format.json                how the rest is laid out
    store/<stage>/<recipe>/recipe.json               how rows are made, readable
    store/<stage>/<recipe>/writer.lock               who writes there now (`lease`)
    store/<stage>/<recipe>/shards/<name>.parquet     rows of the problems the name is a digest of
    store/<stage>/<recipe>/shards/<name>.json        sidecar: rows, size, checksum, problem ids, source checksum
    store/<stage>/<recipe>/manifests/<fingerprint>.json   what one request is made of, written last

A file is written under a temporary name, fsynced and renamed, so a name that exists is complete. Every shard is read
against its checksum. What does not verify is set aside (renamed to ``*.damaged``) with a warning and made again alone.

A store at a URL (`remote`) is a directory on this machine whose finished files are copied there, and fetched from there
when they are wanted; one in a directory alone (`local`) has the same methods. Nothing here knows about stages.
"""

from .files import (
    UNREADABLE,
    atomic_write,
    delete_temporary,
    exclusive,
    fsync,
    raise_system_error,
    sha256_file,
    write_json,
)
from .manifest import FileEntry, ListedFile, Manifest, Recipe, Sidecar, digest
from .store import Store

__all__ = (
    "UNREADABLE",
    "FileEntry",
    "ListedFile",
    "Manifest",
    "Recipe",
    "Sidecar",
    "Store",
    "atomic_write",
    "delete_temporary",
    "digest",
    "exclusive",
    "fsync",
    "raise_system_error",
    "sha256_file",
    "write_json",
)
