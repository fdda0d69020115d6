"""Hand-made audits, as `audit` writes them: one with everything in it, and one with nothing but plain searches."""

import copy
import json
import re
from pathlib import Path
from typing import Any

from facemae.spec.results import EVERYBODY, IMITATED, RELEASED, UNPROTECTED, ReleasesResult

PEOPLE = "bootstrap over 800 people, 1000 replicates, 95%"
HALF = "bootstrap over 400 people, 1000 replicates, 95%"
CROSS, VISIBLE, TEMPLATE = "cross-matcher", "visible patches", "template (retrieval)"
SAYS = (
    "Somebody with public photos and what the same process made of them learns how the two lie to one another in the "
    "eyes of a face recognition network, and looks for a person across that map; success is an image of that person "
    "among the nearest."
)
LEVELS = {UNPROTECTED: 0.71, RELEASED: 0.08, IMITATED: 0.09, CROSS: 0.115, VISIBLE: 0.02}
CHANCE = "distinguishable from chance"
DIGEST = "ab12" * 16


def rated(value: float, *, trials: int = 4000, method: str = PEOPLE) -> dict[str, Any]:
    low, high = max(0.0, value - 0.031), min(1.0, value + 0.033)
    return {"value": value, "low": low, "high": high, "hits": round(value * trials), "trials": trials, "method": method}


def controlled(value: float, chance: float, **more: Any) -> dict[str, Any]:
    control = {"control": chance, "control_low": chance / 2, "control_high": 2 * chance, "p_value": 0.001}
    return rated(value, **more) | control


def attack(name: str, network: str, same_photo: str = "exclude", *, open_set: bool = False) -> dict[str, Any]:
    level = LEVELS[name] * (1.0 if network == "phi" else 0.9) + (0.2 if same_photo == "include" else 0.0)
    at = [
        {"k": k, "identities": 800, "chance": 0.0013 * k, "verdict": CHANCE}
        | controlled(level + 0.02 * (k - 2), 0.0013 * k)
        | {"halves": [rated(level, trials=2000, method=HALF) | {"chance": 0.0026} for _ in range(2)]}
        for k in (1, 2, 3, 4)
    ]
    curve = [
        {"k": k, "identities": n, "chance": k / n} | rated(level + up + 0.02 * (k - 2), trials=500, method="nested")
        for k in (1, 2, 3, 4)
        for n, up in ((50, 0.12), (200, 0.05), (800, 0.0))
    ]
    strangers = {
        "k": 1,
        "nonmember_trials": 2000,
        "nonmember_people": 120,
        "smallest_measurable": 0.005,
        "auc": rated(0.71),
        "points": [
            {"target": 0.1, "fpir": 0.0995, "threshold": 0.4, "measurable": True} | rated(level / 2),
            {"target": 0.01, "fpir": 0.0095, "threshold": 0.6, "measurable": True} | rated(level / 4),
            {"target": 0.001, "fpir": None, "threshold": None, "measurable": False},
        ],
    }
    named = {"attack": name, "embedder": network, "same_photo": same_photo, "subset": EVERYBODY}
    return named | {"at": at, "curve": curve, "probes": 4000, "unmated": 0, "open_set": strangers if open_set else None}


def operating(kind: str, values: tuple[float, float]) -> list[dict[str, Any]]:
    told = [
        {"target": x, "measurable": True, kind: x, "threshold": 0.5} | controlled(value, x)
        for x, value in zip((0.1, 0.01), values, strict=True)
    ]
    return [*told, {"target": 0.001, "measurable": False}]


def linking(network: str) -> dict[str, Any]:
    pairs = {"people": 800, "mated": 16000, "nonmated": 12000000, "pairs": "all pairs of 800 people"}
    rates = {"tar": operating("far", (0.35, 0.12)), "eer": controlled(0.33, 0.5)}
    head = {"attack": RELEASED, "embedder": network, "same_photo": "exclude"}
    return head | rates | {"smallest_measurable": 0.0000008, "verdict": CHANCE} | pairs


def templates(network: str) -> dict[str, Any]:
    sizes: tuple[tuple[int | None, int | None, float], ...] = ((1, 1, 0.06), (1, None, 0.14), (None, None, 0.31))
    at = [
        {"k": k, "probe_images": a, "gallery_images": b, "probe_mean": 5.0, "gallery_mean": 9.0, "identities": 800}
        | controlled(value + 0.03 * (k - 1), k / 800, trials=800)
        | {"chance": k / 800, "verdict": CHANCE}
        for a, b, value in sizes
        for k in (1, 2)
    ]
    head = {"attack": TEMPLATE, "embedder": network, "same_photo": "exclude"}
    return head | {"at": at, "people": 800, "unmated": 0}


def finding(severity: str, what: str, examples: list[str]) -> dict[str, Any]:
    told = {"instrument": "names", "kind": "known name", "what": what, "count": 3, "of": 4000, "p_value": None}
    return told | {"examples": examples, "severity": severity, "control": "words of two people do not count"}


def metadata() -> dict[str, Any]:
    findings = [
        finding("note", "person 17 alone has 43 pictures", []),
        finding("critical", "names hold a word that belongs to one person of the originals alone", ["a/anna_01.jpg"]),
        finding("warning", "file times by file name: rank correlation +0.31 with the originals", ["a/0.jpg"]),
    ]
    checks = [
        {"instrument": "duplicates", "ran": True, "why": ""},
        {"instrument": "archive", "ran": False, "why": "not an archive"},
    ]
    alarms = {"hits": 0, "trials": 300, "closest": 0.2, "among": "strangers"}
    counts = {"files": 4000, "originals": 4000, "unreadable": 0}
    return counts | {"findings": findings, "tests": [], "checks": checks, "copies_alarm": alarms}


def headline(**changed: Any) -> dict[str, Any]:
    told = {"attack": CROSS, "embedder": "phi", "same_photo": "exclude", "k": 2, "measure": "retrieval"}
    return told | rated(0.115, trials=2000, method=HALF) | {"chance": 0.0026, "verdict": CHANCE} | changed


def full() -> dict[str, Any]:
    """Everything that an audit can hold."""
    networks = ("phi", "iresnet18")
    names = (UNPROTECTED, RELEASED, IMITATED, CROSS, VISIBLE)
    attacks = [attack(n, network, open_set=n in (RELEASED, CROSS)) for network in networks for n in names]
    attacks += [attack(RELEASED, network, "include") for network in networks]
    membership = {
        "score": "reconstruction loss, calibrated",
        "auc": controlled(0.56, 0.5),
        "points": operating("fpr", (0.14, 0.02)),
        "members": 300,
        "nonmembers": 200,
        "smallest_measurable": 0.004,
        "verdict": CHANCE,
    }
    told = {"value": 0.031, "low": 0.0, "high": 0.048, "control": 0.03, "control_low": 0.02, "control_high": 0.04}
    noise = {"bound": 0.04, "p_value": 0.4, "bins": [], "method": PEOPLE, "people": 800, "mated": 9, "nonmated": 99}
    unlinkability = {
        "attack": "release to a second release",
        "embedder": "phi",
        "verdict": "not distinguishable from chance; D_sys at most 0.048 (noise up to 0.040)",
    }
    tried = {"release as it is": 0.11, "procrustes": 0.13, "ridge": 0.21}
    return {
        "attacks": attacks,
        "linking": [linking(network) for network in networks],
        "unlinkability": [unlinkability | told | noise],
        "templates": [templates(network) for network in networks],
        "membership": [membership],
        "metadata": metadata(),
        "attackers": [{"name": CROSS, "says": SAYS, "embedder": "phi", "chosen": "ridge", "tried": tried}],
        "embedders": [
            {"name": "phi", "source": "phi.safetensors", "trained_on": None, "loss_network": True},
            {
                "name": "iresnet18",
                "source": "iresnet18.onnx",
                "trained_on": "public people (part P2)",
                "loss_network": False,
                "strength": {"LFW": rated(0.831, trials=6000)},
            },
        ],
        "headline": headline(),
        "not_run": [{"attacker": "parrot", "needs": "public people who went through the same process"}],
    }


def bare() -> dict[str, Any]:
    """What an audit wrote before there was anything but searches."""
    plain = copy.deepcopy([attack(UNPROTECTED, "phi"), attack(RELEASED, "phi")])
    for one in plain:
        one["curve"] = []
    return {"attacks": plain}


def empty() -> dict[str, Any]:
    """All sections asked for, and nothing in them."""
    names = ("attacks", "linking", "unlinkability", "templates", "membership", "attackers", "embedders")
    return {name: [] for name in names} | {"metadata": None, "headline": None}


def between(value: float, low: float, high: float, measure: str = "worst case", **changed: str) -> ReleasesResult:
    """One less Other, by the cross-matcher or, in plain searches, by whom everybody searches."""
    interval = {"value": value, "low": low, "high": high, "smallest_resolvable": (high - low) / 2, "method": "by hand"}
    attack = "cross-matcher" if measure == "worst case" else "Org. to released"
    who = {"attack_a": attack, "embedder_a": "phi", "attack_b": attack, "embedder_b": "phi"}
    place = {"a": "One", "b": "Other", "measure": measure, "same_photo": "exclude", "k": 2}
    return ReleasesResult.model_validate(interval | place | who | changed)


def brief(page: str, label: str) -> str:
    """What a page of several audits says of one release before all tables."""
    found = re.search(rf"^- \*\*{label}\*\*.*?(?=^- \*\*|^\*\*)", page, re.M | re.S)
    assert found is not None
    return found[0]


def written(directory: Path, content: dict[str, Any], *, digest: str = DIGEST) -> Path:
    """A finished audit's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "audit.json").write_text(json.dumps(content))
    (directory / "manifest.json").write_text(json.dumps({"digest": digest}))
    return directory
