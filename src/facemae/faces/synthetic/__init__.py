"""Synthetic people: a procedural 3-D face generator with verification protocols, from numpy and no data.

Every photo is a function of (seed, identity, photo, size). No real face, photo or third-party model enters.
"""

from facemae.faces.synthetic.identity import Identity, identity_name, mix_identities, sample_identity
from facemae.faces.synthetic.nuisance import Nuisance, sample_nuisance
from facemae.faces.synthetic.photos import Mix, SyntheticFace, draw_mix, photo_nuisance, render_photo
from facemae.faces.synthetic.protocols import KINDS, protocol_pairs

__all__ = [
    "KINDS",
    "Identity",
    "Mix",
    "Nuisance",
    "SyntheticFace",
    "draw_mix",
    "identity_name",
    "mix_identities",
    "photo_nuisance",
    "protocol_pairs",
    "render_photo",
    "sample_identity",
    "sample_nuisance",
]
