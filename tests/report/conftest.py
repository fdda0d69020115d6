"""Hand-made results: originals, MAE, FaceMAE; two judges, one of them phi; curves, an open set, claims."""

import io

import pytest
from PIL import Image

from facemae.report import PictureGrid
from facemae.spec.results import (
    EVERYBODY,
    IMITATED,
    RELEASED,
    UNPROTECTED,
    ClaimResult,
    CurveResult,
    DifferenceResult,
    JudgeResult,
    LeakageResult,
    OpenSetResult,
    PairedResult,
    RateResult,
    RelativeResult,
    Results,
    RowResult,
    SeedResult,
    WorstResult,
)

PEOPLE = "bootstrap over 800 people, 1000 replicates, 95%"
FOLDS = "bootstrap over people within folds, 1000 replicates, 95%"
PAIRED = "mean over 3 seeds: bootstrap over people + t over seeds, 95%"
ONE = "paired: bootstrap over people + one seed: its own spread is not in the interval, 95%"
FINAL = {"loss": 0.41234, "instance": 0.2512, "relation": 0.1611}
HALF = "bootstrap over 400 people, 1000 replicates, 95%"
DRAWS = "mean of 20 nested draws, 2.5 to 97.5 % band over draws"
LEVELS = {UNPROTECTED: 0.72, RELEASED: 0.12, IMITATED: 0.06}


def leakage(
    attack: str, judge: str, k: int, level: float, same_photo: str = "exclude", subset: str = EVERYBODY
) -> LeakageResult:
    value = level + 0.04 * (k - 2)
    sizes = ((50, 0.12), (200, 0.05), (800, 0.0)) if subset == EVERYBODY else ()
    curve = [
        CurveResult(
            k=k,
            identities=n,
            value=value + up,
            low=value + up - 0.03,
            high=value + up + 0.03,
            hits=round((value + up) * 500),
            trials=500,
            method=DRAWS,
            chance=k / n,
        )
        for n, up in sizes
    ]
    ratio = value / (LEVELS[UNPROTECTED] * (1.0 if judge == "phi" else 0.9) + 0.04 * (k - 2))
    return LeakageResult(
        attack=attack,
        embedder=judge,
        same_photo=same_photo,
        subset=subset,
        k=k,
        identities=800,
        value=value,
        low=value - 0.021,
        high=value + 0.023,
        hits=round(value * 4000),
        trials=4000,
        chance=0.0013 * k,
        control=0.0012 * k,
        control_low=0.0011 * k,
        control_high=0.0014 * k,
        p_value=0.001,
        verdict="distinguishable from chance",
        method=PEOPLE,
        relative=None
        if attack == UNPROTECTED
        else RelativeResult(value=ratio, low=ratio - 0.0303, high=ratio + 0.0341),
        curve=tuple(curve),
    )


def worst(level: float, *, attack: str = RELEASED, same_photo: str = "exclude") -> WorstResult:
    """The half on which it is told differs a little from everybody."""
    protected = attack != UNPROTECTED
    unprotected = RateResult(value=0.71, low=0.68, high=0.74, hits=1420, trials=2000, method=HALF)
    change = DifferenceResult(
        value=level - 0.71, low=level - 0.74, high=level - 0.68, smallest_resolvable=0.03, method=ONE
    )
    return WorstResult(
        attack=attack,
        embedder="phi",
        same_photo=same_photo,
        k=2,
        identities=800,
        value=level,
        low=level - 0.031,
        high=level + 0.033,
        hits=round(level * 2000),
        trials=2000,
        chance=0.0026,
        verdict="distinguishable from chance",
        method=HALF,
        unprotected=unprotected if protected else None,
        difference=change if protected else None,
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


def judged(value: float) -> RateResult:
    hits = round(value * 6000)
    return RateResult(value=value, low=value - 0.004, high=value + 0.003, hits=hits, trials=6000, method=FOLDS)


def attacked(scale: float, attacks: tuple[str, ...]) -> tuple[LeakageResult, ...]:
    found = []
    for judge, strength in (("phi", 1.0), ("judge-b", 0.9)):
        for attack in attacks:
            level = LEVELS[attack] * strength * (1 if attack == UNPROTECTED else scale)
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
    shared = {"worst_same_photo": worst(0.31, same_photo="include")}
    original = {"leakage": attacked(1, (UNPROTECTED,)), "worst": worst(0.71, attack=UNPROTECTED)}
    mae = {"leakage": attacked(0.8, every), "worst": worst(0.095)} | shared
    facemae = {"leakage": attacked(1, every), "worst": worst(0.115), "open_set": tuple(points)} | shared
    rows = (
        row("Original", "", 0.9612, paper={"lfw": 0.9935, "agedb": 0.9473}, **original),
        row("MAE", "1, 0, 0", 0.9034, paper={"lfw": 97.62}, sharpness=0.031, **mae),
        row("FaceMAE", "0, 1, 1", 0.9321, paper={"lfw": 0.9923}, **facemae),
    )
    return Results(
        title="Table 1 on small real faces",
        note="Public faces are softer than deployment faces here.",
        command="facemae reproduce real-small --data shared",
        digest="0123456789abcdef" * 4,
        hardware={"machine": "x86_64", "threads": 2, "accelerator": "none"},
        rows=rows,
        judges=(
            JudgeResult(name="phi", loss_network=True, accuracy={"lfw": judged(0.9876)}),
            JudgeResult(name="judge-b", loss_network=False, accuracy={"lfw": judged(0.9543)}),
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
