"""One file a verb: settings and directories in, one directory out.

A verb's function is called as its module, so it is imported from there (`from facemae.stages.mask import mask`); what
else a stage offers is found here. Nothing is loaded before it is asked for: import, export and mask need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facemae.stages.audit import Inputs, read_audit
    from facemae.stages.embed import load_vectors, open_embedder, vectors_of
    from facemae.stages.export import export_faces
    from facemae.stages.import_ import import_faces
    from facemae.stages.inputs import source_digest
    from facemae.stages.linkage import read_linkage
    from facemae.stages.mask import private_of
    from facemae.stages.pretrain import load_model, save_model
    from facemae.stages.stage import Stage, open_stage
    from facemae.stages.tabulate import Made, training_of
    from facemae.stages.verify import read_result, ten_folds

__all__ = [
    "Inputs",
    "Made",
    "Stage",
    "export_faces",
    "import_faces",
    "load_model",
    "load_vectors",
    "open_embedder",
    "open_stage",
    "private_of",
    "read_audit",
    "read_linkage",
    "read_result",
    "save_model",
    "source_digest",
    "ten_folds",
    "training_of",
    "vectors_of",
]

_HOMES = {
    "Inputs": "audit",
    "read_audit": "audit",
    "load_vectors": "embed",
    "open_embedder": "embed",
    "vectors_of": "embed",
    "export_faces": "export",
    "import_faces": "import_",
    "source_digest": "inputs",
    "read_linkage": "linkage",
    "private_of": "mask",
    "load_model": "pretrain",
    "save_model": "pretrain",
    "Stage": "stage",
    "open_stage": "stage",
    "Made": "tabulate",
    "training_of": "tabulate",
    "read_result": "verify",
    "ten_folds": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
