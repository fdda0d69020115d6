"""Results to people: one HTML page, one Markdown file, and the figures in both. Nothing is computed here."""

from facemae.report.figures import accuracy_figure, leakage_figure, loss_figure, plane_figure
from facemae.report.html import PictureGrid, report_html, write_report
from facemae.report.markdown import results_markdown

__all__ = [
    "PictureGrid",
    "accuracy_figure",
    "leakage_figure",
    "loss_figure",
    "plane_figure",
    "report_html",
    "results_markdown",
    "write_report",
]
