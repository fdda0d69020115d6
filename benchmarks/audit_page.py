"""`audit-validation.md`: the test bench of the audit as tables."""

from collections import Counter
from typing import Any

NOTES = """\
**How to read it.** *Beside the pixels*, instruments report a finding or none. *Pixels*: retrieval and the inverter are
"found" where an attack with the own photo left out or let in is told from chance (5 % over K = 1, 2 of both),
templates and verification where theirs is; the open set where the lower end of TPIR exceeds the false alarms (FPIR
10 %), which no blind guess reaches. Each instrument has a level of 5 % of its own: one silent one in twenty may speak.
The judge is the package's own network, trained on other drawn people; a learned inverter is trained for few steps only.

**Known and left as it is.** D_sys of pure noise is about 0.03, never 0: it is read against its control and bound, so
the coverage of its true value 0 is told apart.
"""


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    settings = found["settings"]
    sizes = settings["sizes"]
    head = (
        f"# Does the audit find what is there?\n\n"
        f"End to end: {sizes['people']} drawn people at {sizes['size']} px with 4 to {sizes['photos']} photos each, "
        f"{sizes['repetitions']} repetitions with other people. Simulated: {settings['people']} people, "
        f"{settings['photos']} photos, {settings['repetitions']} repetitions, {settings['replicates']} replicates, "
        f"{settings['permutations']} permutations.\n"
    )
    left = f"\n**Unfinished: {found['unfinished']} pieces are missing.**\n" if found["unfinished"] else ""
    parts = [head + left, NOTES, _summary(found), _plants(found["plants"]), _numbers(found["plants"])]
    parts += [_answers(found["answers"]), _simulated(found["simulated"])]
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
    head += ["after the inverter", "copies named"]
    lines = ["## What was measured", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        if found := row["found"]:
            cells = [
                _mean([one["unprotected"][0] for one in found]),
                _mean([one["retrieval"]["exclude"][0]["value"] for one in found]),
                _mean([one["retrieval"]["include"][0]["value"] for one in found]),
                *(_mean([one[name]["value"] for one in found]) for name in ("templates", "verification", "open_set")),
                _mean([one["inverter"]["value"] for one in found]) if "inverter" in found[0] else "",
                ", ".join(str(one["beside"]["copies"]) for one in found),
            ]
            lines.append("| " + " | ".join([row["plant"], *cells]) + " |")
    return "\n".join(lines) + "\n"


def _mean(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f} %"


def _answers(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = ["## Answers that are numbers", "", "| claim | held |", "|---|---|"]
    return "\n".join([*lines, *(f"| {row['claim']} | {row['held']} of {row['of']} |" for row in rows)]) + "\n"


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
