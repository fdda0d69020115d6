"""Vectors are computed once for a network, a set and a precision."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from facemae.errors import FaceMAEError, NotAFaceSet, OutputExists, RecipeError, WeightsError
from facemae.nn.backbones import build_backbone
from facemae.spec.manifest import read_manifest
from facemae.spec.normalisation import Statistics
from facemae.spec.recipe import AuditSpec, EmbedSpec, PretrainSpec, VerifySpec
from facemae.spec.validation import build
from facemae.stages import embed as stage
from facemae.stages.audit import Inputs, audit
from facemae.stages.embed import embed, load_vectors, open_embedder, vectors_of
from helpers import Interrupted, plain, pulling_plug, smooth_photos, write_people_set, write_recogniser, write_set


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people_set(tmp_path_factory.mktemp("embed") / "set", 14, 5)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recogniser(tmp_path_factory.mktemp("embed") / "net")


def test_writes_both_views_and_says_what_they_are(faces: Path, network: Path, tmp_path: Path) -> None:
    out = embed(network, faces, tmp_path / "out", EmbedSpec(), plain())
    assert load_vectors(out).shape == (70, 2, 16)
    manifest = read_manifest(out)
    assert manifest.kind == "embeddings"
    assert manifest.facts == {"records": 70, "dimension": 16}
    assert manifest.parents == {"embedder": read_manifest(network).digest, "faces": read_manifest(faces).digest}


def test_an_interrupted_stage_goes_on(faces: Path, network: Path, tmp_path: Path) -> None:
    whole = load_vectors(embed(network, faces, tmp_path / "whole", EmbedSpec(), plain()))
    with pytest.raises(Interrupted):
        embed(network, faces, tmp_path / "cut", EmbedSpec(), pulling_plug(1))
    assert not (tmp_path / "cut").exists()
    cut = load_vectors(embed(network, faces, tmp_path / "cut", EmbedSpec(), plain(batch=256)))
    assert np.array_equal(whole, cut)
    assert (tmp_path / "whole" / "manifest.json").read_bytes() == (tmp_path / "cut" / "manifest.json").read_bytes()


def test_cached_vectors_are_not_computed_again(
    faces: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = np.array(vectors_of(network, faces, EmbedSpec(), plain(), tmp_path))
    monkeypatch.setattr(stage, "embed_faces", None)
    assert np.array_equal(vectors_of(network, faces, EmbedSpec(), plain(), tmp_path), first)
    assert len(list(tmp_path.iterdir())) == 1


def test_one_view_is_the_first_of_both_and_is_taken_from_both_where_they_are(
    faces: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upright = EmbedSpec(mirrored=False)
    one = np.array(vectors_of(network, faces, upright, plain(), tmp_path / "one"))
    both = np.array(vectors_of(network, faces, EmbedSpec(), plain(), tmp_path / "both"))
    assert one.shape == (70, 1, 16)
    assert np.array_equal(one, both[:, :1])
    monkeypatch.setattr(stage, "embed_faces", None)
    assert np.array_equal(vectors_of(network, faces, upright, plain(), tmp_path / "both"), one)


def test_the_cache_tells_networks_sets_and_precisions_apart(faces: Path, network: Path, tmp_path: Path) -> None:
    other = write_recogniser(tmp_path / "other", seed=1)
    cache = tmp_path / "cache"
    vectors = [
        vectors_of(network, faces, EmbedSpec(), plain(), cache),
        vectors_of(other, faces, EmbedSpec(), plain(), cache),
        vectors_of(network, faces, EmbedSpec(precision="bf16"), plain(), cache),
    ]
    assert len(list(cache.iterdir())) == 3
    assert not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_auto_shares_the_cache_of_what_it_resolves_to(
    faces: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that travels between machines never meets vectors of another precision under one name."""
    for resolved in ("fp32", "bf16"):
        monkeypatch.setattr(stage, "resolve", lambda precision, device, to=resolved: to)
        vectors_of(network, faces, EmbedSpec(precision="auto"), plain(), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_our_recognisers_bring_their_normalisation_and_state_dicts_take_the_given_one(
    network: Path, tmp_path: Path
) -> None:
    assert open_embedder(network, "imagenet").normalize == "insightface"
    assert open_embedder(network, None).normalize == "insightface"
    body = build_backbone("iresnet18", width=4, input_size=32, embedding=16)
    torch.save(body.state_dict(), tmp_path / "backbone.pth")
    assert open_embedder(tmp_path / "backbone.pth", "imagenet").normalize == "imagenet"
    assert open_embedder(tmp_path / "backbone.pth", None).normalize == "insightface"


def write_onnx(path: Path, *, own_normalisation: bool = False) -> Path:
    """The mean colour of each half of the image, before which the graph may subtract 127.5 and scale itself."""
    halves = np.zeros((6, 3, 8, 8), np.float32)
    for i in range(3):
        halves[i, i, :, :4] = halves[i + 3, i, :, 4:] = 1 / 32
    weights = [numpy_helper.from_array(halves, "w")]
    before = [helper.make_node("Identity", ["x"], ["z"])]
    if own_normalisation:
        numbers = (("m", 127.5), ("s", 1 / 127.5))
        weights += [numpy_helper.from_array(np.array([value], np.float32), name) for name, value in numbers]
        before = [helper.make_node("Sub", ["x", "m"], ["d"]), helper.make_node("Mul", ["d", "s"], ["z"])]
    nodes = [*before, helper.make_node("Conv", ["z", "w"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])]
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])
    graph = helper.make_graph(nodes, "net", [entry], [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_an_onnx_graph_tells_its_normalisation_or_is_asked_for_it(faces: Path, tmp_path: Path) -> None:
    """The same network with +-1 inside the graph and outside of it gives the same vectors, and no other."""
    inside = write_onnx(tmp_path / "inside.onnx", own_normalisation=True)
    plain_graph = write_onnx(tmp_path / "plain.onnx")
    half = Statistics(mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5))
    cases = [(inside, None), (inside, "pixels"), (plain_graph, "insightface"), (plain_graph, half)]
    vectors = [
        vectors_of(path, faces, EmbedSpec(normalize=how), plain(), tmp_path / str(i))  # type: ignore[arg-type]
        for i, (path, how) in enumerate(cases)
    ]
    assert np.abs(vectors[0]).max() > 0.1
    for other in vectors[1:]:
        np.testing.assert_allclose(other, vectors[0], atol=1e-5)
    with pytest.raises(WeightsError, match=r"does not tell how its input is normalised.*--set normalize=") as raised:
        vectors_of(plain_graph, faces, EmbedSpec(), plain(), tmp_path / "asked")
    assert "\n" not in str(raised.value)


def test_settings_that_were_kept_before_stay_valid(network: Path, tmp_path: Path) -> None:
    """Names enter digests as they always did: own recognisers none, a state dict its default, a given name itself."""
    cpu, onnx_file, state = torch.device("cpu"), tmp_path / "phi.onnx", tmp_path / "net.pth"
    named = EmbedSpec(normalize="imagenet", precision="bf16")
    assert stage._settings(onnx_file, named, cpu) == {"normalize": "imagenet", "precision": "bf16"}
    assert stage._settings(network, named, cpu) == {"normalize": None, "precision": "bf16"}
    assert stage._settings(state, EmbedSpec(), cpu) == {"normalize": "insightface", "precision": "fp32"}
    assert PretrainSpec(normalize="imagenet").model_dump()["normalize"] == "imagenet"


@pytest.mark.parametrize("model", [EmbedSpec, VerifySpec, AuditSpec, PretrainSpec])
def test_normalisation_is_a_name_or_numbers(model: type[EmbedSpec]) -> None:
    given = {"mean": [0.1, 0.2, 0.3], "deviation": [1, 2.0, 3.0]}
    found = build(model, {"normalize": given}, "mine").normalize
    assert found == Statistics(mean=(0.1, 0.2, 0.3), deviation=(1.0, 2.0, 3.0))
    assert build(model, {}, "mine").normalize is None
    wrong = [
        ("rgb", "mine: normalize: input should be insightface, imagenet, pixels or {mean=[r, g, b], deviation="),
        (3, "mine: normalize: input should be insightface"),
        ({"mean": [0, 0, 0], "deviation": [1, 0, 1]}, "mine: normalize.deviation.1: input should be greater than 0"),
        ({"mean": [0, 0, 0]}, "mine: normalize.deviation: field required"),
        ({**given, "std": 1}, "mine: normalize.std: unknown key; keys here are deviation, mean"),
    ]
    for value, said in wrong:
        with pytest.raises(RecipeError) as raised:
            build(model, {"normalize": value}, "mine")
        assert str(raised.value).startswith(said)


def test_what_is_missing_is_named_in_one_line(faces: Path, network: Path, tmp_path: Path) -> None:
    with pytest.raises(FaceMAEError, match=r"nothing at .*nowhere: check the path"):
        embed(tmp_path / "nowhere", faces, tmp_path / "out", EmbedSpec(), plain())
    with pytest.raises(NotAFaceSet, match="got kind recogniser"):
        embed(network, network, tmp_path / "out", EmbedSpec(), plain())


def test_an_audit_normalises_for_each_network_apart(tmp_path: Path) -> None:
    faces = write_set(tmp_path / "set", smooth_photos(12, 4, noise=60), np.arange(12).repeat(4))
    networks = {
        "inside": write_onnx(tmp_path / "inside.onnx", own_normalisation=True),
        "outside": write_onnx(tmp_path / "plain.onnx"),
        "otherwise": tmp_path / "plain.onnx",
    }
    spec = AuditSpec(replicates=50, k=(1,))

    def run(out: str, **normalize: str) -> list[list[int]]:
        inputs = Inputs(faces, faces, None, networks, normalize=normalize)  # type: ignore[arg-type]
        attacks = audit(inputs, tmp_path / out, spec, plain(), cache=tmp_path / "cache")["attacks"]
        return [[at["hits"] for at in attack["at"]] for attack in attacks]

    with pytest.raises(WeightsError, match="does not tell how its input is normalised"):
        run("untold", otherwise="pixels")
    inside, outside, otherwise = run("told", outside="insightface", otherwise="pixels")
    # Cosines of vectors around zero find other mates than cosines of vectors that are all positive.
    assert inside == outside != otherwise
    with pytest.raises(OutputExists, match="holds another result"):
        run("told", outside="imagenet", otherwise="pixels")


def test_a_network_that_cannot_be_opened_leaves_nothing(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, content in (("a.onnx", b"\xff" * 50), ("a.pth", b"\x80\x02")):
        (tmp_path / "in" / name).write_bytes(content)
        with pytest.raises(WeightsError):
            embed(tmp_path / "in" / name, faces, tmp_path / "new/out", EmbedSpec(normalize="imagenet"), plain())
        with pytest.raises(WeightsError):
            vectors_of(tmp_path / "in" / name, faces, EmbedSpec(normalize="imagenet"), plain(), tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_finished_out_is_taken_without_the_network(
    faces: Path, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = embed(network, faces, tmp_path / "out", EmbedSpec(), plain())
    monkeypatch.setattr(stage, "open_embedder", None)
    assert embed(network, faces, out, EmbedSpec(), plain()) == out
    with pytest.raises(OutputExists, match="holds another result"):
        embed(network, faces, out, EmbedSpec(mirrored=False), plain())
