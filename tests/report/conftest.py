"""Hand-made results: originals, MAE, FaceMAE; two judges, one of them phi; curves, an open set, claims."""

import io

import pytest
from PIL import Image

from facemae.report import PictureGrid
from facemae.spec.results import (
    ClaimResult,
    CurveResult,
    JudgeResult,
    LeakageResult,
    OpenSetResult,
    PairedResult,
    RateResult,
    Results,
    RowResult,
    SeedResult,
)

PEOPLE = "bootstrap over 800 people, 1000 replicates, 95%"
FOLDS = "bootstrap over people within folds, 1000 replicates, 95%"
PAIRED = "mean over 3 seeds: bootstrap over people + t over seeds, 95%"
FINAL = {"loss": 0.41234, "instance": 0.2512, "relation": 0.1611}
RELEASED = "Org. to released"
LEVELS = {"Org. to Org.": 0.72, RELEASED: 0.12, "released-by-same-process to released": 0.06}


def leakage(attack: str, judge: str, k: int, level: float, same_photo: str = "exclude") -> LeakageResult:
    value = level + 0.04 * (k - 2)
    sizes = ((50, 0.12), (200, 0.05), (800, 0.0))
    curve = [
        CurveResult(k=k, identities=n, value=value + up, low=value + up - 0.03, high=value + up + 0.03, chance=k / n)
        for n, up in sizes
    ]
    return LeakageResult(
        attack=attack,
        embedder=judge,
        same_photo=same_photo,
        k=k,
        identities=800,
        value=value,
        low=value - 0.021,
        high=value + 0.023,
        hits=round(value * 4000),
        trials=4000,
        chance=0.0013 * k,
        control=0.0012 * k,
        verdict="distinguishable from chance",
        method=PEOPLE,
        curve=tuple(curve),
    )


def row(label: str, weights: str, lfw: float, **more: object) -> RowResult:
    accuracy = {
        "lfw": RateResult(value=lfw, low=lfw - 0.0062, high=lfw + 0.0058, hits=17000, trials=18000, method=FOLDS),
        "cfp_fp": RateResult(value=lfw - 0.1, low=lfw - 0.12, high=lfw - 0.08, hits=900, trials=1100, method=FOLDS),
    }
    runs = tuple(SeedResult(seed=seed, accuracy=lfw + 0.002 * (seed - 1)) for seed in range(3))
    shifted = tuple(run.model_copy(update={"accuracy": run.accuracy - 0.1}) for run in runs)
    return RowResult(
        label=label,
        weights=weights,
        trained_on=label.lower(),
        accuracy=accuracy,
        seeds={"lfw": runs, "cfp_fp": shifted},
        **more,
    )


def attacked(scale: float, attacks: tuple[str, ...]) -> tuple[LeakageResult, ...]:
    found = []
    for judge, strength in (("phi", 1.0), ("judge-b", 0.9)):
        for attack in attacks:
            level = LEVELS[attack] * strength * (1 if attack == "Org. to Org." else scale)
            found += [leakage(attack, judge, k, level) for k in (1, 2, 3, 4)]
        if RELEASED in attacks:
            found += [leakage(RELEASED, judge, k, 0.3 * strength * scale, "include") for k in (1, 2, 3, 4)]
    return tuple(found)


@pytest.fixture(scope="session")
def results() -> Results:
    every = tuple(LEVELS)
    points = [
        OpenSetResult(
            attack=RELEASED,
            embedder="phi",
            fpir=fpir,
            value=v,
            low=lo,
            high=hi,
            hits=None if v is None else 306,
            trials=None if v is None else 5000,
            method=None if v is None else PEOPLE,
            nonmember_trials=640,
            nonmember_people=90,
            smallest_measurable=10 / 640,
        )
        for fpir, v, lo, hi in ((0.1, 0.0612, 0.0401, 0.0823), (0.01, None, None, None))
    ]
    rows = (
        row("Original", "", 0.9612, leakage=attacked(1, ("Org. to Org.",)), paper={"lfw": 0.9935, "agedb": 0.9473}),
        row("MAE", "1, 0, 0", 0.9034, leakage=attacked(0.8, every), paper={"lfw": 97.62}, sharpness=0.031),
        row("FaceMAE", "0, 1, 1", 0.9321, leakage=attacked(1, every), open_set=tuple(points), paper={"lfw": 0.9923}),
    )
    return Results(
        title="Table 1 on small real faces",
        note="Public faces are softer than deployment faces here.",
        command="facemae reproduce real-small --data shared",
        digest="0123456789abcdef" * 4,
        hardware={"machine": "x86_64", "threads": 2, "accelerator": "none"},
        rows=rows,
        judges=(
            JudgeResult(name="phi", loss_network=True, accuracy={"lfw": 0.9876}),
            JudgeResult(name="judge-b", loss_network=False, accuracy={"lfw": 0.9543}),
        ),
        paired=(
            PairedResult(
                a="FaceMAE",
                b="MAE",
                metric="lfw",
                value=0.0287,
                low=0.0105,
                high=0.0469,
                smallest_resolvable=0.0182,
                method=PAIRED,
            ),
        ),
        claims=(
            ClaimResult(
                claim="FaceMAE trains better recognisers than MAE",
                metric="lfw",
                a="FaceMAE",
                b="MAE",
                verdict="reproduced",
            ),
        ),
        training=(
            {
                "name": "facemae-model",
                "digest": "feed" * 16,
                "size": "tiny",
                "parameters": 5_400_000,
                "image_steps": 640_000,
                "loss_weights": {"pixel": 0.0, "instance": 1.0, "relation": 1.0},
                "start": "random",
                "final": FINAL,
                "steps": [64 * 500 * i for i in range(1, 21)],
                "loss": [3.0 / i + 0.25 for i in range(1, 21)],
            },
        ),
        lineage=({"stage": "people", "verb": "import", "inputs": ["data:faces"], "digest": "ab12" * 16},),
    )


@pytest.fixture(scope="session")
def bare() -> Results:
    """One row without leakage, and nothing optional."""
    return Results(
        title="Bare", command="facemae reproduce", digest="0" * 64, hardware={}, rows=(row("Alone", "", 0.9),)
    )


@pytest.fixture(scope="session")
def pictures() -> PictureGrid:
    def png(face: int, place: int) -> bytes:
        stream = io.BytesIO()
        Image.radial_gradient("L").resize((112, 112)).point(lambda v: (v * (face + 1) + 40 * place) % 256).save(
            stream, format="PNG"
        )
        return stream.getvalue()

    labels = ("original", "masked", "MAE", "FaceMAE")
    return PictureGrid(labels=labels, rows=tuple(tuple(png(f, p) for p in range(4)) for f in range(8)))
