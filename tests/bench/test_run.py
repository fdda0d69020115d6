"""A whole bench at the smallest sizes: every stage and every peer runs once. Nothing here looks at a time."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from facemae.bench import peers
from facemae.bench.memory import peaks
from facemae.bench.networks import OWN_VINO, RUNTIME, VINO, VINO_BF16, embed_peers, vitmae_forward, vitmae_step
from facemae.bench.pairs import Absent, Contender, race
from facemae.bench.result import Result, read_result, write_result
from facemae.bench.run import groups, run_bench
from facemae.bench.stages import patches
from facemae.bench.workspace import Sizes, Workspace
from facemae.errors import RecipeError

SMALLEST = Sizes(
    matrices=(64,),
    maes=("tiny",),
    phis=(("tiny", "mbf"),),
    embedders=("mbf",),
    recognisers=("mbf",),
    photos=2,
    records=34,
    images=66,
    batch=2,
    chunk=2,
    steps=2,
    queries=8,
    gallery=64,
    dimension=32,
    rounds=1,
    seconds=0.0,
    memory=(2, 4),
    memory_stages=("top-4",),
)


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, SMALLEST, torch.device("cpu"))


LIGHT = replace(SMALLEST, maes=(), phis=(), embedders=(), recognisers=())
"""Without the networks, which take most of the time."""


@pytest.fixture(scope="module", params=[LIGHT, pytest.param(SMALLEST, marks=pytest.mark.slow)], ids=["light", "whole"])
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return request.param


@pytest.fixture(scope="module")
def result(sizes: Sizes) -> Result:
    return run_bench(device="cpu", with_peers=False, sizes=sizes)


@pytest.mark.slow
def test_every_group_has_its_row(result: Result, sizes: Sizes) -> None:
    expected = {group.name for group in groups(sizes)} | {"matrix product"}
    assert {row.group for row in result.rows} == expected
    assert len({(row.group, row.name) for row in result.rows}) == len(result.rows)
    assert [peak.stage for peak in result.memory] == ["top-4"]


@pytest.mark.slow
def test_rows_are_well_formed(result: Result) -> None:
    for row in result.rows:
        assert row.rate is not None
        assert row.processor is not None
        assert row.wall is not None
        assert 0 < row.rate.low <= row.rate.median <= row.rate.high
        assert row.rounds == 1
        assert (row.operations > 0) == (row.of_matrix_rate is not None) == (row.dtype not in ("uint8", "bytes"))


def test_a_share_is_operations_over_the_product_of_the_same_round(result: Result) -> None:
    for row in result.rows:
        product = [r for r in result.rows if r.group == row.group and r.unit == "GFLOP/s" and r.dtype == row.dtype]
        if row.of_matrix_rate is None or row.unit == "GFLOP/s":
            continue
        assert len(product) == 1
        assert row.rate is not None
        assert product[0].rate is not None
        measured = row.operations * row.rate.median / (product[0].rate.median * 1e9)
        assert row.of_matrix_rate.median == pytest.approx(measured)


def test_the_result_can_be_kept(result: Result, tmp_path: Path) -> None:
    assert read_result(write_result(tmp_path, result)[0]) == result


def test_only_what_matches_is_measured() -> None:
    found = run_bench(device="cpu", with_peers=False, sizes=SMALLEST, only="decode*")
    assert {row.group for row in found.rows} == {"matrix product", "decode JPEG"}
    assert found.memory == ()
    assert {reached.met for reached in found.reached} == {None}


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match="exact top-4, memory"):
        run_bench(device="cpu", sizes=SMALLEST, only="nothing")


def test_a_peer_that_is_not_there_is_a_row(work: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(peers, "load", missing)
    (offer,) = peers.faiss_search(work)
    assert isinstance(offer, Absent)
    assert offer == Absent(peers.FAISS, "faiss is not installed: pip install 'facemae[bench]'")


def test_a_peer_that_breaks_is_a_row() -> None:
    def broken() -> list[Contender]:
        raise ValueError("its own\nfault")

    assert peers.offered(("a", "b"), broken) == [
        Absent("a", "ValueError: its own fault"),
        Absent("b", "ValueError: its own fault"),
    ]


@pytest.mark.slow
def test_the_networks_are_in_eval_mode_and_masks_are_the_default(work: Workspace) -> None:
    net, visible, ids = patches(work, "tiny")
    assert not net.training
    assert (visible.shape[1:], ids.shape[1:]) == ((49, 192), (49,))


@pytest.mark.parametrize("package", ["pillow", "faiss"])
def test_light_peers_agree(work: Workspace, package: str) -> None:
    if package == "faiss":
        pytest.importorskip("faiss")
    offers = peers.pillow_decoding(work) if package == "pillow" else peers.faiss_search(work)
    (offer,) = offers
    assert isinstance(offer, Contender)
    assert offer.check == {"pillow": "largest difference 0 of 255", "faiss": "100% of the lists of 4 are ours"}[package]


@pytest.mark.slow
def test_readers_give_the_same_bytes(work: Workspace) -> None:
    pytest.importorskip("datasets")
    pytest.importorskip("webdataset")
    offers = peers.readers(work)
    assert [offer.check for offer in offers if isinstance(offer, Contender)] == ["the same bytes"] * 3


@pytest.mark.slow
def test_transformers_computes_the_same(work: Workspace) -> None:
    pytest.importorskip("transformers")
    offers = [*vitmae_forward(work, "tiny"), *vitmae_step(work, "tiny")]
    largest = {}
    for offer in offers:
        assert isinstance(offer, Contender)
        found = re.search(r"in fp32 (\S+)$", offer.check)
        assert found
        largest[offer.dtype] = max(largest.get(offer.dtype, 0.0), float(found[1]))
    assert largest["fp32"] < 1e-5
    assert largest["fp32"] < largest["bf16"] < 0.2
    assert all(lap.units > 0 for laps in race([offers[0], offers[4]], rounds=1).values() for lap in laps)  # type: ignore[list-item]


@pytest.mark.slow
def test_engines_compute_the_same(work: Workspace) -> None:
    pytest.importorskip("onnxruntime")
    found = {offer.name: offer for offer in embed_peers(work, "mbf")}
    assert list(found) == [RUNTIME, VINO, VINO_BF16, OWN_VINO]
    assert isinstance(found[RUNTIME], Contender)
    assert found[RUNTIME].check == "smallest cosine to ours in fp32 1.00000"
    assert isinstance(found[OWN_VINO], Contender) == (find_spec("openvino") is not None)


@pytest.mark.slow
def test_peaks_of_processes(tmp_path: Path) -> None:
    found = peaks(("mask", "embed"), (4, 8), tmp_path)
    assert list(found) == ["mask", "embed"]
    # A Python with numpy holds 20 MiB at least; one with torch holds more.
    for count in (4, 8):
        light, heavy = found["mask"][count], found["embed"][count]
        assert 20 << 20 < light.all < heavy.all
        assert all(1 << 20 < held.own < held.all for held in (light, heavy))
