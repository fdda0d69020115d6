"""How fast RecordIO is read and written without decoding, beside plain reading and writing of the same bytes.

    OMP_NUM_THREADS=1 python benchmarks/recordio_speed.py results

Writes recordio-cpu.json and recordio-cpu.md. Records of 5,000 random bytes in a temporary file that the page cache
holds; processor seconds of one thread, rounds interleaved.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from facemae.bench.pairs import Contender, Repeated, ahead, clock_of, race, rate
from facemae.cli.reproduce import command_line
from facemae.faces.recordfile import RecordFile
from facemae.faces.recordio import RecordWriter, pack
from facemae.report.markdown import table
from facemae.report.tables import Grid
from facemae.spec.manifest import write_json
from facemae.train.hardware import hardware

RECORDS, LENGTH, ROUNDS, SEED = 20_000, 5_000, 7, 0


def contenders(root: Path) -> list[Contender]:
    """Each reads or writes every record once; the plain ones move the same bytes and do nothing else."""
    random = np.random.default_rng(SEED)
    images = [random.bytes(LENGTH) for _ in range(64)]
    path, index = root / "a.rec", root / "a.idx"

    def write() -> None:
        for file in (path, index):
            file.unlink(missing_ok=True)
        with RecordWriter(path, index) as records:
            for key in range(RECORDS):
                records.write(key, pack((float(key), 1.0), images[key % 64], key=key))

    write()
    kept = root / "kept.rec"
    path.rename(kept)
    records, size = RecordFile(kept, index), kept.stat().st_size
    order = random.permutation(RECORDS).tolist()

    def plain_write() -> None:
        block = b"\0" * (1 << 20)
        with (root / "plain").open("wb") as stream:
            for _ in range(size >> 20):
                stream.write(block)

    def plain_read() -> int:
        with kept.open("rb") as stream:
            return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))

    calls = {
        "read in order": lambda: sum(len(payload) for payload in records.payloads()),
        "read in order, headers taken apart": lambda: [records.record(i)[1] for i in range(RECORDS)],
        "read at random": lambda: [records.record(i)[1] for i in order],
        "index made by a scan": lambda: RecordFile(kept),
        "write": write,
        "plain reading of the file": plain_read,
        "plain writing of as many bytes": plain_write,
    }
    clock = clock_of(torch.device("cpu"))
    return [Contender(name, "bytes", Repeated(call, RECORDS, clock=clock, seconds=0.3)) for name, call in calls.items()]


def main(out: Path) -> None:
    """Race, and write both files."""
    with tempfile.TemporaryDirectory() as root:
        laps = race(contenders(Path(root)), rounds=ROUNDS)
    reading, writing = "plain reading of the file", "plain writing of as many bytes"
    rates = {name: rate(times, "processor") for name, times in laps.items()}
    slower = {
        name: ahead(laps[writing if name in ("write", writing) else reading], times, "processor")
        for name, times in laps.items()
    }
    rows = tuple(
        (name, f"{found.median:,.0f} [{found.low:,.0f}, {found.high:,.0f}]", f"{slower[name].median:.1f}")
        for name, found in rates.items()
    )
    content = {
        "schema": 1,
        "command": command_line(sys.argv[1:]).replace("facemae", "python benchmarks/recordio_speed.py", 1),
        "seed": SEED,
        "records": RECORDS,
        "bytes": LENGTH,
        "rounds": ROUNDS,
        "hardware": hardware(),
        "records_a_second": {name: spread.__dict__ for name, spread in rates.items()},
        "times_the_plain_cost": {name: spread.__dict__ for name, spread in slower.items()},
    }
    write_json(out / "recordio-cpu.json", content)
    grid = Grid("Records a second", ("What", "Median [slowest, fastest]", "Times the plain cost"), rows)
    text = f"# RecordIO on one core\n\n{RECORDS:,} records of {LENGTH:,} bytes.\n\n{table(grid)}\n"
    (out / "recordio-cpu.md").write_text(f"{text}\nMade by `{content['command']}`.\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
