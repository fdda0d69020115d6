"""Write docs/reproduction.md from the results of the paper's tables and figures.

python benchmarks/write_reproduction.py
"""

from pathlib import Path

from facemae.plan import scaled_tables
from facemae.report import reproduction_markdown
from facemae.spec.results import read_results

ROOT = Path(__file__).resolve().parents[1]
SCALES = ("paper", "small", "synthetic")


def page() -> str:
    """The page that belongs to what lies under results/."""
    names = scaled_tables()
    files = {f"{name}-{scale}": ROOT / "results" / f"{name}-{scale}.json" for name in names for scale in SCALES}
    found = {name: read_results(path) for name, path in files.items() if path.exists()}
    return reproduction_markdown(found, names, SCALES)


if __name__ == "__main__":
    (ROOT / "docs" / "reproduction.md").write_text(page(), encoding="utf-8")
