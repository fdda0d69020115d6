"""A face set as InsightFace's training tools read it: ``train.rec``, ``train.idx``, ``property``."""

from pathlib import Path

import numpy as np

from facemae.faces.codec import encode_png
from facemae.faces.exporters.place import start_empty
from facemae.faces.faceset import FaceSet
from facemae.faces.recordio import RecordWriter, pack

EXACT = 1 << 24
"""Labels are float32, and record 0 holds counts of records as labels: whole numbers up to here are exact."""

_ALIGNED = 1.0


def export_recordio(faces: FaceSet, directory: Path) -> int:
    """Write the set as InsightFace's ``face2rec2`` does; returns the number of images.

    Images, sorted by person, are records 1 … N with the labels (person, aligned); record 0 has the labels
    (N + 1, N + 1 + people); record N + 1 + i has those of person i: the first key and the one behind the last. People
    are numbered from 0 without gaps, in the order of their numbers in the set. ``property`` is ``people,height,width``.
    Where N + 1 + people is over 2^24, which those labels cannot hold, the images are records 0 … N - 1 with one label,
    as im2rec writes them; InsightFace reads both. Bytes are as stored, except that masked records become pictures on
    grey. The same set gives the same bytes.

    Raises:
        OutputExists: the directory holds something.
    """
    start_empty(directory)
    order = np.argsort(faces.identities, kind="stable")
    starts = np.unique(faces.identities[order], return_index=True)[1]
    people = len(starts)
    indexed = len(faces) + 1 + people <= EXACT
    with RecordWriter(directory / "train.rec", directory / "train.idx") as records:
        key, bounds = int(indexed), [*starts.tolist(), len(faces)]
        for label in range(people):
            for i in order[bounds[label] : bounds[label + 1]].tolist():
                labels = (label, _ALIGNED) if indexed else label
                records.write(key, pack(labels, _image(faces, i), key=key))
                key += 1
        if indexed:
            records.write(0, pack((key, key + people), b""))
            for label in range(people):
                records.write(key + label, pack((bounds[label] + 1, bounds[label + 1] + 1), b"", key=key + label))
    height, width = faces.size
    (directory / "property").write_text(f"{people},{height},{width}\n")
    return len(faces)


def _image(faces: FaceSet, i: int) -> bytes:
    return encode_png(faces.image(i)) if faces.kind == "masked" else faces.record(i).image
