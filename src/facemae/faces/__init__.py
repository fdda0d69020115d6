"""Faces at rest: finished sets, their records and people, pairs, masks, and bytes to pixels. Never imports torch.

What needs more than this has its own door: `importers`, `exporters`, `synthetic`, and `align`.
"""

from facemae.faces.codec import decode, encode_jpeg, encode_png
from facemae.faces.distort import blur, matching_sigma, sharpness
from facemae.faces.faceset import GREY, FaceSet, write_people
from facemae.faces.masks import coin_flips, kept_cells, permutation, record_seeds, seed_bytes, visible_cells
from facemae.faces.pairs import Pairs, read_pairs, write_pairs_csv
from facemae.faces.record import People, Record, key_of
from facemae.faces.splits import Split, in_split, in_subset
from facemae.faces.writer import FaceSetWriter

__all__ = [
    "GREY",
    "FaceSet",
    "FaceSetWriter",
    "Pairs",
    "People",
    "Record",
    "Split",
    "blur",
    "coin_flips",
    "decode",
    "encode_jpeg",
    "encode_png",
    "in_split",
    "in_subset",
    "kept_cells",
    "key_of",
    "matching_sigma",
    "permutation",
    "read_pairs",
    "record_seeds",
    "seed_bytes",
    "sharpness",
    "visible_cells",
    "write_pairs_csv",
    "write_people",
]
