"""A face set as the Parquet files of a Hugging Face image set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from facemae.faces.codec import encode_png
from facemae.faces.exporters.place import start_empty
from facemae.faces.faceset import FaceSet
from facemae.faces.parquet import features_metadata, load_pyarrow

SHARD_BYTES = 1 << 29
GROUP_BYTES = 1 << 24
_GROUP_ROWS = 4096


def export_parquet(
    faces: FaceSet, directory: Path, *, shard_bytes: int = SHARD_BYTES, group_bytes: int = GROUP_BYTES
) -> list[Path]:
    """Write ``train-00000-of-0000N.parquet`` of columns ``image`` and ``label``; returns the files.

    ``datasets.load_dataset(directory)`` opens them as Image and ClassLabel; classes are person numbers, written with
    their leading zeros so that they sort as numbers. Image bytes are unchanged, except that a masked record, a strip of
    cells, becomes a picture as in a folder. A row group holds about ``group_bytes``, and no more is in memory at once.
    The same set gives the same bytes (for one version of pyarrow).

    Raises:
        OutputExists: the directory holds something.
        DataError: pyarrow is not installed.
    """
    pa, pq = load_pyarrow()
    start_empty(directory)
    image = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    columns = [pa.field("image", image), pa.field("label", pa.int64())]
    schema = pa.schema(columns, metadata=features_metadata(class_names(faces)))
    lengths = np.asarray(faces.index["length"])
    shards = list(_runs(lengths, range(len(faces)), shard_bytes, len(faces))) or [range(0)]
    paths = [directory / f"train-{n:05d}-of-{len(shards):05d}.parquet" for n in range(len(shards))]
    for path, shard in zip(paths, shards, strict=True):
        # Images do not compress, and the bounds of their bytes are of no use to a reader.
        with pq.ParquetWriter(
            path, schema, compression="none", use_dictionary=False, write_statistics=["label"], write_page_checksum=True
        ) as writer:
            for group in _runs(lengths, shard, group_bytes, _GROUP_ROWS):
                rows = [_row(faces, i) for i in group]
                arrays = [pa.array([row[0] for row in rows], image), pa.array([row[1] for row in rows], pa.int64())]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(rows))
    return paths


def class_names(faces: FaceSet) -> list[str]:
    """The name of every person number, as the folders of a folder export are named: ``000007``."""
    last = int(np.max(faces.index["identity"], initial=-1))
    width = max(6, len(str(last)))
    return [f"{number:0{width}d}" for number in range(max(last + 1, faces.num_identities))]


def _row(faces: FaceSet, i: int) -> tuple[dict[str, object], int]:
    record = faces.record(i)
    if faces.kind == "masked":
        return {"bytes": encode_png(faces.image(i)), "path": record.key + ".png"}, record.identity
    return {"bytes": record.image, "path": record.key + record.suffix}, record.identity


def _runs(lengths: np.ndarray, records: range, size: int, count: int) -> Iterator[range]:
    """``records`` cut into runs that end at the record with which they reach ``size`` bytes or ``count`` records."""
    start, held = records.start, 0
    for i in records:
        held += int(lengths[i])
        if held >= size or i + 1 - start >= count:
            yield range(start, i + 1)
            start, held = i + 1, 0
    if start < records.stop:
        yield range(start, records.stop)
