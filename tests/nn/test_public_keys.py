"""Names, shapes and types of our recognisers are those of public checkpoints, in their order."""

import hashlib
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from facemae.nn.backbones import BACKBONES, build_backbone, name_of

# Name of the key list, sha256 of its lines "name (shape) dtype", number of keys, parameters of the model.
PUBLIC = {
    "iresnet18": ("r18", "a9d2aef97007db8a664f92906fdd4ed9526be29ef5e3c21709e1d71912dc9025", 187, 24_025_600),
    "iresnet34": ("r34", "534fce0a72e17b2ee6e31c669eae9e36c22cd995f414a0e182795c66211fcabc", 331, 34_139_328),
    "iresnet50": ("r50", "dc433c582b32d511040c7f2e058611a1afd89d02e7e0bd0ef10e463b1ae6de85", 475, 43_590_848),
    "iresnet100": ("r100", "f00bac9b72557da4a57214e2796f1265f48fb4e4032f282abf16755ced2c8bcd", 925, 65_156_160),
    "iresnet200": ("r200", "dac2d2c486712b9175539fac9457cb5df1a9584f842237f3ff38696744b2e144", 1807, 118_833_920),
    "mbf2": ("mbf", "30a2ce12c9e12d9cd4510fe12fbe3127d6b7611ff229c7b13c77f56553a8ebc7", 333, 2_059_520),
    "mbf_large": ("mbf_large", "8fbd5c84258306dbb3cac6a639c3cb28e547dc94601627a8025a4eaa2f6ef2f2", 606, 6_314_880),
    "vit_t": ("vit_t", "f9d25b5a3c82f542da6f3018e490b8c3249cbc3f4a669c1a9df4c9ad02654458", 150, 19_137_792),
    "vit_s": ("vit_s", "e6d67f09fa21d43ad02313a006ed074333cdd163e32799ad294e199655c6cac0", 150, 76_023_296),
    "vit_b": ("vit_b", "70d4ce29c2646822bb8d6243185baac56741643099b96ea8b954387ce012218e", 282, 113_833_472),
    "vit_l": (
        "vit_l_dp005_mask_005",
        "06c89e652f7d289cb17257acb5fc2cdde320dea3eb306aa70b7d93d371d6df88",
        282,
        255_684_352,
    ),
}


@lru_cache
def lines_of(name: str) -> list[str]:
    with torch.device("meta"):
        state = build_backbone(name).state_dict()
    return [f"{key} {tuple(tensor.shape)} {tensor.dtype}" for key, tensor in state.items()]


@pytest.mark.parametrize("name", PUBLIC)
def test_keys_are_those_of_public_checkpoints(name: str) -> None:
    _, digest, count, parameters = PUBLIC[name]
    lines = lines_of(name)
    assert len(lines) == count
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest
    with torch.device("meta"):
        net = build_backbone(name)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert name_of(net) == name


@pytest.mark.real
@pytest.mark.parametrize("name", PUBLIC)
def test_the_digests_are_of_the_lists_themselves(shared: Path, name: str) -> None:
    listed = (shared / f"facts/keys/{PUBLIC[name][0]}.keys").read_text().splitlines()
    assert lines_of(name) == listed
    assert hashlib.sha256("\n".join(listed).encode()).hexdigest() == PUBLIC[name][1]


@pytest.mark.real
def test_no_list_is_left_out(shared: Path) -> None:
    assert {path.stem for path in (shared / "facts/keys").glob("*.keys")} == {row[0] for row in PUBLIC.values()}
    assert set(BACKBONES) - set(PUBLIC) == {"mbf"}  # its width of 2021; no list was made of it
