"""The metadata that every shard of teacher signal carries: codec, sizes, head, certificate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..store import Manifest, Store


def load_signal_metadata(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Read the signal metadata of each shard of a teach request, without reading any rows."""
    import pyarrow.parquet as pq

    from ..signal.layout import METADATA

    for file in manifest.files:
        yield json.loads(pq.read_schema(store.path(manifest, file)).metadata[METADATA.encode()])
