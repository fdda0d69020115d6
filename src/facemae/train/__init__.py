"""The only loops, optimisers, devices and ranks.

The two loops are called as their modules: `train.pretrain.pretrain` and `train.recognize.recognize`.
"""

from facemae.train.checkpoint import all_finite, drop_checkpoint, load_checkpoint, save_checkpoint, write_bytes
from facemae.train.embed import embed_faces
from facemae.train.hardware import hardware
from facemae.train.journal import Journal, read_journal
from facemae.train.loader import Batch, Sight, batches, resize, to_unit
from facemae.train.operations import multiply_adds
from facemae.train.optim import clip_norm, decay_groups, set_rate, warmup_cosine
from facemae.train.precision import autocast, resolve
from facemae.train.products import fastest_product
from facemae.train.schedule import Schedule
from facemae.train.world import World, gather_rows, join, mean_over_ranks, parallel, wait_for_all

__all__ = [
    "Batch",
    "Journal",
    "Schedule",
    "Sight",
    "World",
    "all_finite",
    "autocast",
    "batches",
    "clip_norm",
    "decay_groups",
    "drop_checkpoint",
    "embed_faces",
    "fastest_product",
    "gather_rows",
    "hardware",
    "join",
    "load_checkpoint",
    "mean_over_ranks",
    "multiply_adds",
    "parallel",
    "read_journal",
    "resize",
    "resolve",
    "save_checkpoint",
    "set_rate",
    "to_unit",
    "wait_for_all",
    "warmup_cosine",
    "write_bytes",
]
