"""What a release gives away beside its pixels: its files as they came, against the originals as they came."""

from functools import partial
from typing import Any

import numpy as np

from facemae.faces.faceset import FaceSet
from facemae.faces.metadata import audit_metadata
from facemae.faces.traces import Collection, open_collection
from facemae.stages.auditing.inputs import Inputs
from facemae.stages.auditing.scene import Scene


def beside_the_pixels(scene: Scene, given: Inputs) -> dict[str, Any] | None:
    """`MetadataAudit` of the release as it was ``given``, before anything was imported; None without a release."""
    if scene.released is None:
        return None
    with open_collection(given.original) as original, open_collection(given.released) as released:
        linked = _linked(scene, given, original, released)
        ask = partial(audit_metadata, original, released, linked=linked, seed=scene.spec.seed)
        if given.nonmembers is None:
            return ask(execution=scene.execution).to_dict()
        with open_collection(given.nonmembers) as strangers:
            return ask(strangers=strangers, execution=scene.execution).to_dict()


def _linked(scene: Scene, given: Inputs, original: Collection, released: Collection) -> np.ndarray | None:
    """The file behind every released file; None where files were left out of the import, so that some have none."""
    assert scene.released is not None
    ours = _places(scene.original, given.original == scene.inputs.original, original)
    theirs = _places(scene.released.faces, given.released == scene.inputs.released, released)
    if len(theirs) != len(released) or (theirs < 0).any() or (ours < 0).any():
        return None
    linked = np.empty(len(released), np.int64)
    linked[theirs] = ours[scene.released.photo]
    return linked


def _places(faces: FaceSet, as_given: bool, collection: Collection) -> np.ndarray:
    """Where each record of a set stands among the files that it was imported from; -1 for one that is not there."""
    if as_given or faces.people is None:
        return np.arange(len(faces))
    place = {name: i for i, name in enumerate(collection.names)}
    return np.array([place.get(name, -1) for name in faces.people.files], np.int64)
