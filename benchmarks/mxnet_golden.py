"""The golden files of tests/faces/mxnet, written by MXNet itself. It is retired and needs an environment of its own:

    pip install mxnet==1.9.1 numpy==1.23.5 "opencv-python-headless<4.9"
    python mxnet_golden.py FOLDER tests/faces/mxnet

FOLDER: a few small pictures as PERSON/FILE. Writes ``insightface/`` (what InsightFace's face2rec2 leaves: images, then
record 0, then the people) with `mxnet.recordio`, ``im2rec/`` (flag 0, no record 0 of its own) with MXNet's own
im2rec.py, and ``told.json``: keys, labels and bytes of every record as MXNet reads them back. One payload holds the
format's magic number at a multiple of four bytes, so that MXNet splits its record.
"""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import mxnet
from mxnet import recordio

MAGIC = struct.pack("<I", 0xCED7230A)


def insightface(photos: list[tuple[int, bytes]], out: Path) -> None:
    """``train.rec``, ``train.idx`` and ``property``."""
    out.mkdir(parents=True)
    record = recordio.MXIndexedRecordIO(str(out / "train.idx"), str(out / "train.rec"), "w")
    people: dict[int, list[int]] = {}
    for key, (person, image) in enumerate(photos, start=1):
        people.setdefault(person, []).append(key)
        record.write_idx(key, recordio.pack(recordio.IRHeader(0, [float(person), 1.0], key, 0), image))
    last = len(photos) + 1
    record.write_idx(0, recordio.pack(recordio.IRHeader(0, [float(last), float(last + len(people))], 0, 0), b""))
    for place, keys in enumerate(people.values()):
        bounds = [float(keys[0]), float(keys[-1] + 1)]
        record.write_idx(last + place, recordio.pack(recordio.IRHeader(0, bounds, last + place, 0), b""))
    record.close()
    (out / "property").write_text(f"{len(people)},32,32\n")


def told(folder: Path) -> list[dict[str, object]]:
    """Every record as MXNet reads it."""
    record = recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "r")
    rows = []
    for key in record.keys:
        header, image = recordio.unpack(record.read_idx(key))
        label = header.label.tolist() if hasattr(header.label, "tolist") else float(header.label)
        row = {"key": key, "flag": int(header.flag), "label": label, "id": int(header.id), "bytes": len(image)}
        rows.append(row | {"sha256": hashlib.sha256(image).hexdigest()})
    return rows


def main(folder: Path, out: Path) -> None:
    """Write both sets and what MXNet says of them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    people = sorted({path.parent.name for path in files})
    photos = [(people.index(path.parent.name), path.read_bytes()) for path in files]
    # Bytes behind a picture's end do not change what it shows.
    person, image = photos[-1]
    image += b"\0" * (-(24 + 8 + len(image)) % 4) + MAGIC + b"tail"
    photos[-1] = person, image
    insightface(photos, out / "insightface")
    target = out / "im2rec"
    target.mkdir()
    tool = [sys.executable, str(Path(mxnet.__file__).parent / "tools" / "im2rec.py")]
    subprocess.run([*tool, str(target / "train"), str(folder), "--list", "--recursive", "--no-shuffle"], check=True)
    subprocess.run([*tool, str(target / "train"), str(folder), "--pass-through"], check=True)
    rows = {name: told(out / name) for name in ("insightface", "im2rec")}
    (out / "told.json").write_text(json.dumps({"mxnet": mxnet.__version__} | rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
