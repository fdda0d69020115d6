"""Readers of photo collections: directories, tars, LFW, CFP, AgeDB."""

from facemae.faces.importers.entries import Entry
from facemae.faces.importers.landmarks import Landmarks, read_landmarks
from facemae.faces.importers.layouts import Layout
from facemae.faces.importers.photos import ALIGNED_SIZE, ImportReport, import_photos, pair_rows
from facemae.faces.importers.source import Source, open_source
from facemae.faces.importers.storage import Skipped

__all__ = [
    "ALIGNED_SIZE",
    "Entry",
    "ImportReport",
    "Landmarks",
    "Layout",
    "Skipped",
    "Source",
    "import_photos",
    "open_source",
    "pair_rows",
    "read_landmarks",
]
