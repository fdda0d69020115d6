"""Peak memory of the data stages at two numbers of records, each stage in a process of its own.

    bytes a record = (peak at the larger number - peak at the smaller) / (difference of the numbers)

Two peaks: of all memory, in which the system counts whatever it keeps of mapped files and drops when others need the
room; and of what the process itself allocated. The pictures are tiny: what a stage keeps for every record shows the
more, and the numbers can be large.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from facemae.errors import FaceMAEError

PIXELS, CELL = 16, 4
PEOPLE = 100
"""Photos a person: a folder a photo would measure the file system."""
DIMENSION = 512
QUERIES = 256
K = 4
READS = {"import": (), "mask": ("import",), "reconstruct": ("import", "mask"), "embed": ("import",), "top-4": ()}
"""The stages that make what a stage reads."""
SAMPLE = 0.002
"""Seconds between two looks at what a process has allocated."""
STATUS = Path("/proc/self/status")
SCRIPT = "from facemae.bench.memory import serve; serve()"


class Held(NamedTuple):
    """The most bytes that a process held at once: all of them, and those it allocated itself."""

    all: int
    own: int


def peaks(stages: Sequence[str], sizes: Sequence[int], root: Path) -> dict[str, dict[int, Held]]:
    """Peaks of the processes that run ``stages``, by stage and number of records.

    Whatever makes what they read runs as well.
    """
    needed = set(stages) | {before for stage in stages for before in READS[stage]}
    found: dict[str, dict[int, Held]] = {stage: {} for stage in STAGES if stage in needed}
    for count in sizes:
        folder = root / f"memory-{count}"
        _prepare(folder, count, networks=bool(needed & {"reconstruct", "embed"}))
        for stage, peaks_of in found.items():
            peaks_of[count] = _in_process(stage, folder)
    return {stage: peaks_of for stage, peaks_of in found.items() if stage in stages}


def serve() -> None:
    """The process that is measured: one stage, named on standard input; its peaks to standard output."""
    asked = json.load(sys.stdin)
    stop, own = threading.Event(), [0]

    def watch() -> None:
        # The system keeps the peak of all memory only; what was allocated has to be looked at.
        while not stop.wait(SAMPLE):
            own[0] = max(own[0], _status("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    STAGES[asked["stage"]](Path(asked["folder"]))
    last = _status("RssAnon")
    stop.set()
    watcher.join()
    json.dump(Held(_peak(), max(own[0], last))._asdict(), sys.stdout)


def _in_process(stage: str, folder: Path) -> Held:
    asked = json.dumps({"stage": stage, "folder": str(folder)})
    ended = subprocess.run([sys.executable, "-c", SCRIPT], input=asked, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise FaceMAEError(f"{stage} failed while its memory was measured", got=lines[-1])
    return Held(**json.loads(ended.stdout))


def _peak() -> int:
    """The most memory this process held at once, files that it mapped included."""
    if STATUS.exists():
        # Since this program began; what getrusage tells began with the process that forked us, which may be larger.
        return _status("VmHWM")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(name: str) -> int:
    """One of the system's figures about this process, in bytes; all memory where it has none."""
    if not STATUS.exists():
        return _peak()
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0]) * 1024


# ---- what the stages read ---------------------------------------------------------------------


def _prepare(folder: Path, count: int, *, networks: bool) -> None:
    import numpy as np

    from facemae.bench.workspace import random_rows, write_photos, write_recogniser

    write_photos(folder / "photos", count, drawn=64, size=PIXELS, people=PEOPLE)
    np.save(folder / "gallery.npy", random_rows(np.random.default_rng(0), count, DIMENSION))
    if networks:
        write_recogniser(folder / "phi", "iresnet18", input_size=PIXELS, width=16)
        _write_model(folder)


def _write_model(folder: Path) -> None:
    from facemae.bench.workspace import pixel_spec, write_photos
    from facemae.spec.execution import Execution
    from facemae.spec.recipe import ImportSpec
    from facemae.stages.import_ import import_faces
    from facemae.stages.pretrain import pretrain

    few = write_photos(folder / "few", 4, drawn=4, size=PIXELS)
    faces = import_faces([str(few)], folder / "few-faces", ImportSpec(), Execution())
    spec = pixel_spec("tiny", batch=2, steps=1).model_copy(update={"image_size": PIXELS, "patch_size": CELL})
    pretrain(faces, folder / "model", spec, Execution(device="cpu"))


# ---- the stages; each loads only what it needs --------------------------------------------------


def _import(folder: Path) -> None:
    from facemae.spec.execution import Execution
    from facemae.spec.recipe import ImportSpec
    from facemae.stages.import_ import import_faces

    import_faces([str(folder / "photos")], folder / "faces", ImportSpec(), Execution())


def _mask(folder: Path) -> None:
    from facemae.spec.execution import Execution
    from facemae.spec.recipe import MaskSpec
    from facemae.stages.mask import mask

    mask(folder / "faces", folder / "masked", MaskSpec(cell=CELL, seed=0), Execution())


def _reconstruct(folder: Path) -> None:
    from facemae.spec.execution import Execution
    from facemae.spec.recipe import ReconstructSpec
    from facemae.stages.reconstruct import reconstruct

    reconstruct(folder / "model", folder / "masked", folder / "released", ReconstructSpec(), Execution(device="cpu"))


def _embed(folder: Path) -> None:
    from facemae.spec.execution import Execution
    from facemae.spec.recipe import EmbedSpec
    from facemae.stages.embed import embed

    embed(folder / "phi", folder / "faces", folder / "vectors", EmbedSpec(), Execution(device="cpu"))


def _topk(folder: Path) -> None:
    import numpy as np

    from facemae.measure.retrieval import topk

    gallery: Any = np.load(folder / "gallery.npy", mmap_mode="r")
    topk(np.array(gallery[:QUERIES]), gallery, K)


STAGES: dict[str, Callable[[Path], None]] = {
    "import": _import,
    "mask": _mask,
    "reconstruct": _reconstruct,
    "embed": _embed,
    "top-4": _topk,
}
"""In the order in which one reads what another wrote."""
