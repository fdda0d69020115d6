"""Every kind of release audited with the whole suite: results/audit-real-small or results/audit-synthetic.

    python benchmarks/audit_releases.py results --scale small --data DATA --runs RUNS --jobs 2

Runs what is missing of the recipe `audit` (resumable, stages shared with the tables of the same scale) and writes one
JSON of all audits (curves at one K and no single sources: the rest stays with each audit), with the paired differences
between them, and one page. ``--utility``: results whose accuracies stand beside the worst cases of releases that their
rows are trained on. ``--longer LABEL=DIR``: a finished audit of that release by attackers who learn for longer.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from facemae.cli.bars import Bars
from facemae.plan import Plan, find_data, read_table, run_side_by_side
from facemae.report import UtilityPoint, comparison_markdown
from facemae.report.audit_longer import Longer
from facemae.report.audit_models import Rated
from facemae.report.audit_reading import AuditRead, read_audit_directory
from facemae.spec.execution import Execution
from facemae.spec.manifest import digest_of, read_manifest, write_json
from facemae.spec.recipe import AuditSpec
from facemae.spec.results import EVERYBODY, RateResult, Results, read_results
from facemae.stages.audit import read_audit
from facemae.stages.differences import release_differences
from facemae.train.hardware import hardware

GIVEN = "the set given as --public"
NAMES = {"small": "audit-real-small", "synthetic": "audit-synthetic", "paper": "audit-paper"}

ABOUT = {
    "Original": "the photos as they are",
    "Original, blurred": "every photo blurred until it is as soft as MAE's pictures",
    "75 % masked": "a quarter of the cells of every photo, the others grey; whoever has a model that completes them, "
    "as those behind MAE and FaceMAE, finds at least what is found there",
    "MAE": "that quarter, completed by a model trained to restore pixels; no pixel is copied, but what is restored may "
    "be as good as a copy",
    "MAE, visible patches pasted": "the same, with the true quarter pasted back",
    "FaceMAE": "that quarter, completed by a model trained to please the network phi; no pixel is copied",
}


def kept(directory: Path, k: int) -> dict[str, Any]:
    """What `audit` wrote, without what takes most of its room: all curves but one K's, and probes of single sources."""
    found = read_audit(directory)
    attacks = [
        attack | {"curve": [point for point in attack["curve"] if point["k"] == k]}
        for attack in found["attacks"]
        if attack["subset"] == EVERYBODY
    ]
    for attack in attacks:
        if attack["open_set"]:
            attack["open_set"] = {name: value for name, value in attack["open_set"].items() if name != "curve"}
    return {"digest": read_manifest(directory).digest} | found | {"attacks": attacks}


def with_strength(audit: AuditRead, results: Results) -> AuditRead:
    """The networks of an audit with their own accuracies, and where the attackers' public people trained them."""
    known = {judge.name: judge.accuracy for judge in results.judges}
    told = tuple(
        one.model_copy(
            update={
                "strength": {name: Rated(**dict(rate)) for name, rate in known.get(one.name, {}).items()},
                "trained_on": one.trained_on and one.trained_on.replace(GIVEN, "the attackers' public people"),
            }
        )
        for one in audit.embedders
    )
    return audit.model_copy(update={"embedders": told})


def beside(audits: dict[str, AuditRead], trained: dict[str, str], published: Results) -> tuple[UtilityPoint, ...]:
    """The worst case of each release beside the published accuracies of recognisers ``trained`` on that very set."""
    rows = {row.trained_on: row for row in published.rows}
    points = []
    for label, audit in audits.items():
        row, worst = rows.get(trained[label]), audit.headline
        if row is None or worst is None:
            continue
        rate = RateResult(**{name: getattr(worst, name) for name in RateResult.model_fields})
        told = (worst.k or 0, worst.attack, worst.embedder, audit.protected)
        points += [UtilityPoint(label, protocol, found, rate, *told) for protocol, found in row.accuracy.items()]
    return tuple(points)


def read_again(told: list[str]) -> dict[str, tuple[Path, int]]:
    """Audits with another budget, by the label of their release: where each lies, and its steps."""
    where = {label: Path(directory) for label, _, directory in (text.partition("=") for text in told)}
    # A setting that stands at its default is not among those that name an audit.
    return {
        label: (place, int(read_manifest(place).spec.get("steps", AuditSpec().steps))) for label, place in where.items()
    }


def beside_longer(again: dict[str, tuple[Path, int]], few: int) -> Longer | None:
    """The same for the page, whose table is about one budget."""
    if not again:
        return None
    [many] = {steps for _, steps in again.values()}
    found = release_differences({label: place for label, (place, _) in again.items()})
    return Longer(few, many, {label: read_audit_directory(place) for label, (place, _) in again.items()}, found)


def main() -> None:
    """Run what is missing, then write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scale", choices=sorted(NAMES), default="synthetic")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--utility", type=Path, help="results whose rows say how useful each release is")
    parser.add_argument("--longer", action="append", default=[], metavar="LABEL=DIR")
    asked = parser.parse_args()
    table = read_table("audit", asked.scale)
    execution = Execution(device="auto", progress=Bars())
    plan = Plan(table, asked.runs, find_data(table, asked.data, "audit"), execution)
    if asked.jobs > 1:
        run_side_by_side([plan], {0: [job.name for job in plan.jobs()]}, asked.jobs, execution)
    plan.run()
    name, directories = NAMES[asked.scale], {row.label: plan.audit_directory(row) for row in table.rows}
    command = f"python benchmarks/audit_releases.py results --scale {shlex.quote(asked.scale)} --runs RUNS"
    command += " --data DATA" if asked.data else ""
    command += f" --utility results/{asked.utility.name}" if asked.utility else ""
    command += "".join(f" --longer {shlex.quote(text.partition('=')[0])}=AUDIT" for text in asked.longer)
    results = plan.results(command)
    audits = {label: with_strength(read_audit_directory(where), results) for label, where in directories.items()}
    asked.out.mkdir(parents=True, exist_ok=True)
    spec = read_manifest(next(iter(directories.values()))).spec
    differences = release_differences(directories)
    again = read_again(asked.longer)
    longer = beside_longer(again, spec["steps"])
    content = {
        "schema": 1,
        "title": table.title,
        "note": table.note,
        "command": command,
        "digest": digest_of("audits", {}, {label: read_manifest(where).digest for label, where in directories.items()}),
        "seed": spec["seed"],
        "steps": spec["steps"],
        "masks": spec["masks"],
        "hardware": hardware(),
        "judges": [judge.model_dump(mode="json") for judge in results.judges],
        "training": list(results.training),
        "lineage": list(results.lineage),
        "releases": {label: kept(where, audits[label].k) for label, where in directories.items()},
        "longer": {label: {"steps": steps} | kept(where, audits[label].k) for label, (where, steps) in again.items()},
        "differences": [one.model_dump(mode="json") for one in differences],
        "differences_longer": [one.model_dump(mode="json") for one in longer.differences] if longer else [],
    }
    write_json(asked.out / f"{name}.json", content)
    trained = {row.label: row.train for row in table.rows}
    utility = beside(audits, trained, read_results(asked.utility)) if asked.utility else ()
    told = f"Made by `{command}`; digest `{content['digest'][:12]}`."
    budget = f"Attackers who train had {spec['steps']} steps each, those who imitate {spec['masks']} masks."
    page = {"title": table.title, "note": f"{table.note} {budget}", "made_by": told}
    text = comparison_markdown(audits, **page, utility=utility, about=ABOUT, differences=differences, longer=longer)
    (asked.out / f"{name}.md").write_text(text, encoding="utf-8")
    print(json.dumps({"written": f"{name}.json, {name}.md"}), file=sys.stderr)


if __name__ == "__main__":
    main()
