"""The room's door: what other rooms use, without torch and without work."""

import subprocess
import sys

import pytest

from facemae import faces
from facemae.faces import align, codec, faceset


@pytest.mark.slow
def test_the_door_brings_neither_torch_nor_scipy() -> None:
    code = (
        "import sys, facemae.faces; print([name for name in ('torch', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_door_gives_what_the_files_hold_and_hides_no_file() -> None:
    assert sorted(faces.__all__) == sorted(set(faces.__all__))
    assert all(hasattr(faces, name) for name in faces.__all__)
    assert faces.FaceSet is faceset.FaceSet
    assert faces.decode is codec.decode
    assert align.align is not align
