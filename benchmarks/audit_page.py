"""`audit-validation.md`: the test bench of the audit as tables."""

from collections import Counter
from typing import Any

NOTES = """\
**How to read it.** *Beside the pixels*, instruments report a finding or none. *Pixels*: retrieval and every attacker
are "found" where an attack with the own photo left out or let in is told from chance (5 % over K = 1, 2 of both),
templates and verification where theirs is; the open set where the lower end of TPIR exceeds the false alarms (FPIR
10 %), which no blind guess reaches. Each instrument has a level of 5 % of its own: one silent one in twenty may speak.
The judge is the package's own network, trained on other drawn people; attackers who learn do so for few steps only.

**How often.** Whoever trains a network on pictures (inverter, parrot, imitating parrot: 15 seconds to a minute of one
core each time) is asked in the first repetitions only; so is whoever has to be silent, but for instruments beside the
pixels. What an instrument that trains none has to find is asked of more people. With 10 of 10 found the power is at
least 74 % (one-sided 95 %), with 3 of 3 at least 37 %.

**Known and left as it is.** D_sys of pure noise is about 0.03, never 0: it is read against its control and bound, so
the coverage of its true value 0 is told apart.
"""

ACCUSED = {
    "whole audit": "smallest p-value of a whole audit",
    "own photo left out": "standardised statistic of retrieval, own photo left out",
}
"""Studies of false accusation alone, and what their values are."""


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    settings = found["settings"]
    sizes = settings["sizes"]
    head = (
        f"# Does the audit find what is there?\n\n"
        f"End to end: {sizes['people']} drawn people at {sizes['size']} px with 4 to {sizes['photos']} photos each, "
        f"{sizes['repetitions']} repetitions with other people, {sizes['often']} of what has to be found and needs no "
        f"training. Simulated: {settings['people']} people, "
        f"{settings['photos']} photos, {settings['repetitions']} repetitions, {settings['replicates']} replicates, "
        f"{settings['permutations']} permutations.\n"
    )
    left = f"\n**Unfinished: {found['unfinished']} pieces are missing.**\n" if found["unfinished"] else ""
    parts = [head + left, NOTES, _summary(found), _plants(found["plants"]), _numbers(found["plants"])]
    alone = [row for row in found["simulated"] if row["measure"] in ACCUSED]
    others = [row for row in found["simulated"] if row["measure"] not in ACCUSED]
    parts += [_attackers(found["plants"]), _answers(found["answers"]), _accused(alone), _simulated(others)]
    return "\n".join(part for part in parts if part)


def _summary(found: dict[str, Any]) -> str:
    planted = [one for row in found["plants"] for one in row["expects"].values() if one["expects"] == "found"]
    verdicts = Counter(f"{kind}: {verdict}" for row in found["simulated"] for kind, verdict in row["verdicts"].items())
    silence = found["silence"]
    lines = ["## Verdicts", ""]
    if planted:
        held = sum(one["verdict"] == "held" for one in planted)
        lines.append(f"- what has to be found was found every time: {held} of {len(planted)} expectations")
    if silence["accused"] is not None:
        rate = silence["accused"]
        lines.append(
            f"- what has to be silent spoke {rate['hits']} times of {rate['trials']} "
            f"(level {silence['level']:.0%}, p = {silence['p_value']:.3f}): {silence['verdict']}"
        )
    lines += [f"- simulated, {verdict}: {count} rows" for verdict, count in sorted(verdicts.items())]
    return "\n".join(lines) + "\n"


def _plants(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        "## Releases with a known answer",
        "",
        "| release | known answer | must be found | must be silent | verdict |",
    ]
    lines.append("|---|---|---|---|---|")
    for row in rows:
        cells = [row["plant"], row["answer"], _held(row, "found"), _held(row, "silent")]
        broken = [f"{name} {one['verdict']}" for name, one in row["expects"].items() if one["verdict"] != "held"]
        lines.append("| " + " | ".join([*cells, "; ".join(broken) or "held"]) + " |")
    return "\n".join(lines) + "\n"


def _held(row: dict[str, Any], what: str) -> str:
    return ", ".join(f"{k} {v['held']}/{v['of']}" for k, v in row["expects"].items() if v["expects"] == what)


def _numbers(rows: list[dict[str, Any]]) -> str:
    """Means over the repetitions of what was measured, whether or not anything was expected."""
    if not rows:
        return ""
    head = ["release", "Org. to Org., K = 1", "retrieval", "own photo", "templates", "EER", "TPIR at FPIR 10 %"]
    head += ["copies named"]
    lines = ["## What was measured", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        if found := [one for one in row["found"] if "retrieval" in one]:
            cells = [
                _mean([one["unprotected"][0] for one in found]),
                _mean([one["retrieval"]["exclude"][0]["value"] for one in found]),
                _mean([one["retrieval"]["include"][0]["value"] for one in found]),
                *(_mean([one[name]["value"] for one in found]) for name in ("templates", "verification", "open_set")),
                ", ".join(str(one["beside"]["copies"]) for one in row["found"]),
            ]
            lines.append("| " + " | ".join([row["plant"], *cells]) + " |")
    return "\n".join(lines) + "\n"


def _attackers(rows: list[dict[str, Any]]) -> str:
    """What each attacker found beside plain search in the same repetitions, and the way that it chose."""
    lines = ["## Attackers", ""]
    lines.append(
        "| release | attacker | repetitions | found, K = 1 | own photo in hand | chosen | seconds of one core |"
    )
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        for name in row["expects"]:
            # Only attackers say how long they took.
            if asked := [one[name] for one in row["found"] if "seconds" in one.get(name, {})]:
                values = [_mean([one[photo][0]["value"] for one in asked]) for photo in ("exclude", "include")]
                chosen = ", ".join(f"{way} ({n})" for way, n in Counter(one["chosen"] for one in asked).items() if way)
                cells = [row["plant"], name, str(len(asked)), *values, chosen]
                seconds = sum(one["seconds"] for one in asked) / len(asked)
                lines.append("| " + " | ".join([*cells, f"{seconds:.0f}"]) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 4 else ""


def _mean(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f} %"


def _answers(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = ["## Answers that are numbers", "", "| claim | held |", "|---|---|"]
    return "\n".join([*lines, *(f"| {row['claim']} | {row['held']} of {row['of']} |" for row in rows)]) + "\n"


def _accused(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = ["## Without any leak", "", "| value | of | mean | spread | told from chance | verdicts |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        verdicts = "; ".join(f"{kind}: {verdict}" for kind, verdict in row["verdicts"].items())
        cells = [ACCUSED[row["measure"]], row["quantity"], f"{row['mean']:.3f}", f"{row['spread']:.3f}"]
        lines.append("| " + " | ".join([*cells, _share(row["accused"]), verdicts]) + " |")
    return "\n".join(lines) + "\n"


def _simulated(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = "| measure | quantity | leak | truth | mean | covered | told from chance | verdicts |"
    lines = ["## Simulated leaks", "", head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        truth = "" if row["truth"] is None else f"{row['truth']:.4f}"
        covered = "" if row["coverage"] is None else _share(row["coverage"])
        verdicts = "; ".join(f"{kind}: {verdict}" for kind, verdict in row["verdicts"].items())
        cells = [row["measure"], row["quantity"], f"{row['leak']:g}", truth, f"{row['mean']:.4f}", covered]
        lines.append("| " + " | ".join([*cells, _share(row["accused"]), verdicts]) + " |")
    return "\n".join(lines) + "\n"


def _share(rate: dict[str, Any]) -> str:
    return f"{100 * rate['value']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"
