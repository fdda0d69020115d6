"""What a release's card says beside the worst case: what became of the records that leaked most, and the limits."""

from collections.abc import Sequence
from typing import Any

from facemae.stages.exposure import APART


def leakage_section(card: str, dropped: dict[str, Any] | None, limits: Sequence[str]) -> str:
    """``card``, the audit's own words, without its heading, and what its reader has to know of this release."""
    lines = card.strip().splitlines()
    parts = ["\n".join(lines[1:] if lines and lines[0].startswith("#") else lines).strip()]
    parts += [_dropped(dropped)] if dropped else []
    parts.append(f"The release was held to {', '.join(limits)}." if limits else "No limit was set for the release.")
    parts.append("`audit/` holds everything that was measured.")
    return "\n\n".join(parts)


def _dropped(dropped: dict[str, Any]) -> str:
    done = "masked again with a fresh secret" if dropped["how"] == "remask" else "left out"
    lines = [
        f"{dropped['records']:,} of {dropped['of']:,} records, those that {_plain(dropped['chosen_by'])} found most "
        f"clearly by {dropped['by']}, were {done} after a first audit; what stands above was found by the second. What "
        "this bought, in searches whose nearest image shows the person:",
        "",
        "| network | its part | photos | before | after | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in dropped["bought"]:
        cells = [_plain(row["embedder"]), row["embedder_had"], row["photos_had"], _rate(row["before"])]
        lines.append("| " + " | ".join([*cells, _rate(row["after"]), _difference(row["difference"])]) + " |")
    fair = any(APART in (row["embedder_had"], row["photos_had"]) for row in dropped["bought"])
    tail = (
        "Rows whose network or photos had a part in the choice flatter, and so does the second audit as a whole, "
        "which counts them too; the others do not."
        if fair
        else "All of it is in-sample: the network and the photos that chose are those that tell. Expect less of others."
    )
    return "\n".join([*lines, "", tail])


def _rate(rate: dict[str, Any]) -> str:
    return f"{rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]"


def _difference(found: dict[str, Any]) -> str:
    low, value, high = (f"{100 * found[key]:+.1f}" for key in ("low", "value", "high"))
    return f"{value} points [{low}, {high}]"


def _plain(text: str) -> str:
    """A name inside a table: names of networks come from the command line."""
    return " ".join(text.split()).replace("|", "&#124;").replace("<", "&lt;")
