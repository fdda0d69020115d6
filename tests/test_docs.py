"""What the documents say exists: keys and defaults, links, files. And nothing committed names a machine."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from facemae.spec.recipe import SECTIONS
from facemae.spec.table import Table
from facemae.spec.table_parts import Claim, Judge, Picture, Protocol, Row, StageCall

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
SOURCE = ROOT / "src" / "facemae"
TEXT = {".py", ".md", ".toml", ".cff", ".j2", ".json", ".yml", ".yaml", ".txt", ".sh", ".cfg", ""}

TABLES: dict[str, type[BaseModel]] = {
    "Top level": Table,
    "`[stages.NAME]`": StageCall,
    "`protocols`": Protocol,
    "`judges`": Judge,
    "`[[rows]]`": Row,
    "`[[claims]]`": Claim,
    "`[[pictures]]`": Picture,
}
MODELS: dict[str, type[BaseModel]] = {f"`[{name}]`": model for name, model in SECTIONS.items()} | TABLES


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every key of a section with its default, nested sections as dotted keys."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= leaves(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.default
    return found


def documented(heading: str) -> dict[str, str]:
    """First and second cell of every row of the table under one heading of docs/recipes.md."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    parts = re.split(r"^#{2,3} (.+)$", text, flags=re.M)
    body = dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in body.splitlines() if line.startswith("| `")]
    assert len({key for key, _ in rows}) == len(rows), f"a key stands twice under {heading}"
    return {key.strip("`"): default for key, default in rows}


@pytest.mark.parametrize("heading", MODELS)
def test_recipe_keys_and_defaults(heading: str) -> None:
    expected, found = leaves(MODELS[heading]), documented(heading)
    assert found.keys() == expected.keys()
    for key, default in expected.items():
        if default is None or default is PydanticUndefined:
            assert found[key] == ("—" if default is None else "required"), key
            continue
        shown = tomllib.loads(f"x = {found[key].strip('`')}")["x"]
        plain = list(default) if isinstance(default, tuple) else default
        assert shown == (plain if not _numbers(plain) else pytest.approx(plain, rel=2e-3)), key


def _numbers(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(item, float) for item in values)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        assert file.exists(), f"{document.name} links to {target}"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.M)
            assert anchor in {_anchor(heading) for heading in headings}, f"{document.name} links to {target}"


@pytest.mark.parametrize("name", ["paper-map.md", "threat-model.md", "datasets.md", "architecture.md"])
def test_documents_name_only_files_that_exist(name: str) -> None:
    named = re.findall(r"`((?:src|tests|docs)/[\w./\-]+)`", (ROOT / "docs" / name).read_text(encoding="utf-8"))
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_paper_map_names_files_recipes_and_tables() -> None:
    text = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")
    assert len(re.findall(r"`src/facemae/[\w./]+\.py`", text)) > 20
    assert len(re.findall(r"`tests/[\w./]+\.py`", text)) > 10
    for item in [*(f"Table {n}" for n in range(1, 9)), *(f"Fig. {n}" for n in range(1, 6)), "Eq. 1", "Eq. 2", "Eq. 3"]:
        assert f"| {item} " in text, item
    recipes = {path.stem for path in (SOURCE / "recipes").glob("*.toml")}
    assert set(re.findall(r"recipe `([\w\-]+)`", text)) <= recipes


def test_architecture_lists_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = text.split("```text")[-1].split("```")[0]
    listed = _tree_files(tree)
    modules = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert listed == modules


def _tree_files(tree: str) -> set[str]:
    """Paths of the modules in an indented tree: two spaces a level, folders end in a slash."""
    found, folders = set(), []
    for line in tree.splitlines():
        name = line.strip().split(" ")[0]
        depth = (len(line) - len(line.lstrip())) // 2
        if name.endswith("/"):
            folders = [*folders[:depth], name]
        elif name.endswith(".py"):
            found.add("".join([*folders[1:depth], name]))
    return found


# Roots in two pieces, so that this file does not name what it looks for.
DISKS = "|".join("/" + root for root in ("work", "home", "Users", "root", "mnt", "tmp", "opt", "srv"))
PATHS = re.compile(rf"(?<![\w.\-}}/])(?:{DISKS})/[\w.]")
HOSTS = re.compile(
    r"\w://(?:\d+\.|[\w.\-]*(?:mirror|proxy|artifactory|nexus|registry)|[\w.\-]+\.(?:internal|local|lan|corp)\b)"
)


def names_a_machine(line: str) -> bool:
    """Whether a line holds an absolute path of somebody's disk or the host of a private registry."""
    return bool(PATHS.search(line) or HOSTS.search(line))


def test_machines_are_recognised() -> None:
    for root in ("home", "work", "tmp"):
        assert names_a_machine(f'path = "/{root}' + '/somebody/faces"')
    assert names_a_machine("index-url = https:" + "//pypi-mirror.example.com/simple")
    assert names_a_machine("https:" + "//10.0.0.7:8080/simple")
    for harmless in (
        "../shared/data",
        "docs/home/x.md",
        "https://arxiv.org/abs/2205.11090",
        "runs/tmp/x",
        "a/b/home/c",
    ):
        assert not names_a_machine(harmless)


def test_nothing_names_a_machine() -> None:
    guilty = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in _shared_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if names_a_machine(line)
    ]
    assert not guilty


def _shared_files() -> list[Path]:
    """Text files that git knows or would take; every text file of the folder where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        paths = [path for folder in ("src", "tests", "docs") for path in (ROOT / folder).rglob("*")] + DOCS
    return [path for path in paths if path.is_file() and path.suffix in TEXT and path.name != "LICENSE"]


def test_tables_taken_from_results_are_those_of_the_results() -> None:
    """Between `<!-- from FILE -->` and `<!-- end -->` stands a part of that file, letter by letter."""
    block = re.compile(r"<!-- from (\S+) -->\n(.*?)\n<!-- end -->", re.DOTALL)
    found = [(path, name, shown) for path in DOCS for name, shown in block.findall(path.read_text(encoding="utf-8"))]
    assert found
    for path, name, shown in found:
        assert shown in (ROOT / name).read_text(encoding="utf-8"), f"{path.name}: take the table of {name} again"
