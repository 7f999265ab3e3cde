"""Tables as Parquet files: equal tables give equal bytes, and a file is only read if its checksum matches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

WIDE_ROW = 16_384  # bytes; rows with captured vectors are far larger, rows of text and ids smaller


def write(table: pa.Table, path: Path) -> None:
    """Write `table`. Each wide row gets a row group, so that it can be read alone.

    Numbers of fixed-size vectors hardly repeat, so a dictionary would only cost time and space. Their bytes are split
    by significance, because the high bytes compress.
    """
    import pyarrow.parquet as pq

    leaves = [leaf for field in table.schema for leaf in _leaves(field.name, field.type)]
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=[name for name, vector in leaves if not vector],
        column_encoding={name: "BYTE_STREAM_SPLIT" for name, vector in leaves if vector},
        row_group_size=1 if table.nbytes > WIDE_ROW * table.num_rows else None,
        write_page_checksum=True,
    )


def read(path: Path, sha256: str, columns: list[str] | None = None) -> pa.Table:
    """Read the table in a file, or some of its columns, if the whole file has the given SHA-256.

    The whole file is checked even if only some columns are read: a page's own checksum does not show that it is the
    right page.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not what was written.
    """
    return _file(path, sha256).read(columns)


def schema(path: Path, sha256: str) -> pa.Schema:
    """Read the columns and metadata of the table in a file; as `read`."""
    return _file(path, sha256).schema_arrow


def _file(path: Path, sha256: str) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.stat().st_size:
        raise ValueError("it is empty")
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its checksum differs")
    return pq.ParquetFile(pa.BufferReader(content))


def _leaves(name: str, kind: pa.DataType, vector: bool = False) -> Iterator[tuple[str, bool]]:
    """Parquet's columns within one Arrow column, and whether each holds the numbers of fixed-size vectors."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type, vector)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type, vector or pa.types.is_fixed_size_list(kind))
    else:
        yield name, vector
