"""Results as tables of words, once for Markdown and HTML alike: selecting and formatting only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from facemae.report.selection import is_loss_network, judges, leakages, open_sets, protocols
from facemae.report.wording import (
    ABSENT,
    accuracy,
    count,
    difference,
    metric,
    percent,
    printed,
    rate,
    relative,
    words,
)
from facemae.spec.results import (
    EVERYBODY,
    NO_NETWORK,
    LeakageResult,
    Results,
    RowResult,
)


@dataclass(frozen=True)
class Grid:
    """A table: what it shows, column headings, and rows whose first cell names them."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def methods(results: Results) -> tuple[str, ...]:
    """How the intervals were made: every method once, in the order of the footnotes."""
    made = [found.method for row in results.rows for found in row.accuracy.values()]
    made += [found.method for row in results.rows for found in row.leakage]
    made += [pair.method for pair in results.paired]
    for row in results.rows:
        for found in (row.worst, row.worst_same_photo):
            made += [found.method] if found else []
            made += [found.difference.method] if found and found.difference else []
    made += [found.method for judge in results.judges for found in judge.accuracy.values()]
    return tuple(dict.fromkeys(made))


def accuracy_grid(results: Results) -> Grid:
    """Rows against protocols, the paper's own figures beside."""
    names = protocols(results)
    cited = [name for name in names if any(name in row.paper for row in results.rows)]
    unmeasured = list(dict.fromkeys(name for row in results.rows for name in row.paper if name not in names))
    columns = ["Row", "Weights", "Trained on"]
    for name in names:
        columns += [name, f"{name}, paper"] if name in cited else [name]
    columns += [f"{name}, paper only" for name in unmeasured]
    lines = []
    for row in results.rows:
        line = [row.label, row.weights, row.trained_on]
        for name in names:
            found = row.accuracy.get(name)
            line.append(accuracy(found.value, found.low, found.high) if found else ABSENT)
            if name in cited:
                line.append(_cited(row, name))
        line += [_cited(row, name) for name in unmeasured]
        line += [f"{row.sharpness:.3g}" if row.sharpness is not None else ABSENT]
        lines.append(tuple(line))
    trained = "Verification accuracy of recognisers trained on each set: mean over seeds [interval]"
    caption = trained if names else "The sets"
    return without_empty(Grid(caption, (*columns, "Sharpness of the set"), tuple(lines)))


def seeds_grid(results: Results) -> Grid:
    """What each accuracy rests on: every seed, hits of trials, and the method's footnote."""
    notes = methods(results)
    lines = [
        (
            row.label,
            name,
            ", ".join(f"{percent(run.accuracy)} (seed {run.seed})" for run in row.seeds.get(name, ())) or ABSENT,
            f"{count(found.hits)}/{count(found.trials)}",
            _note(notes, found.method),
        )
        for row in results.rows
        for name, found in row.accuracy.items()
    ]
    columns = ("Row", "Protocol", "Each seed", "Hits/trials, all seeds", "Method")
    return Grid("What the accuracies rest on", columns, tuple(lines))


def judges_grid(results: Results) -> Grid:
    """The judges' own strength: a weak judge's leakage is a weak lower bound."""
    notes = methods(results)
    lines = tuple(
        (
            judge.name,
            "the loss network: the generator was trained against it" if judge.loss_network else "not the loss network",
            name,
            accuracy(found.value, found.low, found.high),
            f"{count(found.hits)}/{count(found.trials)}",
            _note(notes, found.method),
        )
        for judge in results.judges
        for name, found in judge.accuracy.items()
    )
    columns = ("Judge", "Role", "Protocol", "Accuracy", "Hits/trials", "Method")
    return Grid("The judges' own verification accuracy", columns, lines)


def worst_grid(results: Results) -> Grid:
    """The strongest attack on each row, chosen on one half of the people and measured on the other."""
    notes = methods(results)
    lines = tuple(
        (
            row.label,
            f"{found.attack}, {NO_NETWORK if found.embedder == NO_NETWORK else f'judge {found.embedder}'}",
            found.same_photo,
            str(found.k),
            rate(found.value, found.low, found.high),
            f"{count(found.hits)}/{count(found.trials)}",
            percent(found.chance),
            percent(found.unprotected.value) if found.unprotected else ABSENT,
            difference(found.difference) if found.difference else ABSENT,
            " ".join(_note(notes, part.method) for part in (found, found.difference) if part),
        )
        for row in results.rows
        for found in (row.worst, row.worst_same_photo)
        if found
    )
    attack = ("Row", "Strongest attack", "Same photo", "K")
    columns = (*attack, "Leakage", "Hits/trials", "Chance", "Org. to Org.", "Difference, points", "Methods")
    return Grid(
        "Worst over attacks and judges: chosen on one half of the people, measured on the other", columns, lines
    )


def leakage_grids(results: Results) -> tuple[Grid, ...]:
    """One table a judge: every attack at every K, at the full number of identities."""
    attack = ("Whose faces", "Attack", "Same photo", "Probes from", "K", "Identities")
    columns = (*attack, "Leakage", "Hits/trials", "Of Org. to Org.", "Chance", "Control", "Verdict", "Method")
    notes = methods(results)
    found = list(leakages(results, subsets=True))
    several = any(item.found.subset != EVERYBODY for item in found)
    grids = []
    for judge in judges(results):
        lines = tuple(
            _leakage_line(item.owner, item.found, notes, several) for item in found if item.found.embedder == judge
        )
        role = ", the loss network" if is_loss_network(results, judge) else ""
        grids.append(without_empty(Grid(f"Leakage to judge {judge}{role}", columns, lines)))
    return tuple(grids)


def _leakage_line(owner: str, found: LeakageResult, notes: tuple[str, ...], several: bool) -> tuple[str, ...]:
    return (
        owner,
        found.attack,
        found.same_photo,
        found.subset if several else "",
        str(found.k),
        count(found.identities),
        rate(found.value, found.low, found.high),
        f"{count(found.hits)}/{count(found.trials)}",
        relative(found.relative),
        percent(found.chance),
        percent(found.control),
        found.verdict,
        _note(notes, found.method),
    )


def leakage_summary(results: Results, k: int) -> Grid:
    """All judges side by side at one K, each rate with its share of "Org. to Org." under that judge."""
    names = judges(results)
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for item in leakages(results):
        found = item.found
        if found.k == k:
            place = cells.setdefault((item.owner, found.attack, found.same_photo), {})
            share = f", {relative(found.relative)} of Org. to Org." if found.relative else ""
            place[found.embedder] = rate(found.value, found.low, found.high) + share
            # Blind guessing does not look at the faces: it is the same for every judge.
            place[""] = percent(found.chance)
    headings = (f"{name} (loss network)" if is_loss_network(results, name) else name for name in names)
    lines = tuple((*key, *(found.get(name, ABSENT) for name in (*names, ""))) for key, found in cells.items())
    caption = f"Leakage at K = {k} with all identities, by judge"
    return Grid(caption, ("Whose faces", "Attack", "Same photo", *headings, "Chance"), lines)


def open_set_grid(results: Results) -> Grid:
    """Members found while people outside the release stay silent."""
    attack = ("Whose faces", "Attack", "Judge", "FPIR", "TPIR", "Hits/trials")
    columns = (*attack, "Non-member trials", "Non-member people", "Smallest measurable FPIR")
    lines = [
        (
            owner,
            found.attack,
            found.embedder,
            f"{100 * found.fpir:.4g} %",
            "not measurable here"
            if found.value is None or found.low is None or found.high is None
            else rate(found.value, found.low, found.high),
            ABSENT if found.hits is None or found.trials is None else f"{count(found.hits)}/{count(found.trials)}",
            count(found.nonmember_trials),
            count(found.nonmember_people),
            ABSENT if found.smallest_measurable is None else f"{100 * found.smallest_measurable:.2g} %",
        )
        for owner, found in ((item.owner, item.found) for item in open_sets(results))
    ]
    return Grid("Open set: members identified (TPIR) at a rate of false alarms (FPIR)", columns, tuple(lines))


def paired_grid(results: Results) -> Grid:
    """Differences between rows, in points."""
    notes = methods(results)
    lines = tuple(
        (
            pair.a,
            pair.b,
            metric(pair.metric),
            difference(pair),
            f"{100 * pair.smallest_resolvable:.2f}",
            _note(notes, pair.method),
        )
        for pair in results.paired
    )
    columns = ("A", "B", "On", "A − B, points", "Smallest resolvable, points", "Method")
    return Grid("Paired differences between rows", columns, lines)


def claims_grid(results: Results) -> Grid:
    """The paper's claims, what was measured, and the verdict; where a row only stands in, it says so."""
    measured = {(pair.a, pair.b, pair.metric): difference(pair) for pair in results.paired}
    lines = tuple(
        (
            claim.claim,
            claim.a,
            claim.b,
            metric(claim.metric),
            measured.get((claim.a, claim.b, claim.metric), ABSENT),
            f"{claim.verdict}, by {claim.stand_in}" if claim.stand_in else claim.verdict,
        )
        for claim in results.claims
    )
    caption = "Claims of the paper, and orderings of its printed cells"
    return Grid(caption, ("Claim", "A", "B", "On", "A − B, points", "Verdict"), lines)


def training_grid(results: Results) -> Grid:
    """The generators' runs: how long, from what, and where the losses ended."""
    headings = {
        "size": "Size",
        "parameters": "Parameters",
        "start": "Start",
        "loss_weights": "Loss",
        "image_steps": "Image-steps",
        "final": "Final losses",
    }
    return _free_grid("Training of the generators", "Generator", "name", headings, results.training)


def lineage_grid(results: Results) -> Grid:
    """The stages and the digests that name them."""
    headings = {"verb": "Verb", "inputs": "Inputs", "digest": "Digest"}
    entries = [
        entry | ({"digest": str(entry["digest"])[:16]} if entry.get("digest") else {}) for entry in results.lineage
    ]
    return _free_grid("Where everything came from", "Stage", "stage", headings, entries)


def hardware_grid(results: Results) -> Grid:
    """The machine and the versions."""
    lines = tuple((str(key).replace("_", " "), words(value)) for key, value in results.hardware.items())
    return Grid("What it was run on", ("Part", "Value"), lines)


def _free_grid(
    caption: str, first: str, key: str, headings: Mapping[str, str], entries: Iterable[Mapping[str, Any]]
) -> Grid:
    """Entries without a schema: the columns that are known, minus those that no entry fills."""
    lines = tuple(
        (str(entry.get(key, ABSENT)), *(words(entry[name]) if entry.get(name) else ABSENT for name in headings))
        for entry in entries
    )
    return without_empty(Grid(caption, (first, *headings.values()), lines))


def without_empty(grid: Grid) -> Grid:
    """The grid without columns in which nothing stands."""
    kept = [i for i in range(len(grid.columns)) if i == 0 or any(row[i] not in ("", ABSENT) for row in grid.rows)]
    columns = tuple(grid.columns[i] for i in kept)
    return Grid(grid.caption, columns, tuple(tuple(row[i] for i in kept) for row in grid.rows))


def _cited(row: RowResult, name: str) -> str:
    return printed(row.paper[name]) if name in row.paper else ABSENT


def _note(notes: tuple[str, ...], method: str) -> str:
    return f"({notes.index(method) + 1})"
