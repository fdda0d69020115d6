"""Readers of photo collections: directories, tars, LFW, CFP, AgeDB."""

from facemae.faces.importers.landmarks import Landmarks, read_landmarks
from facemae.faces.importers.layouts import Entry, FlatRule, Layout
from facemae.faces.importers.photos import ImportReport, import_photos
from facemae.faces.importers.source import Photo, Source, open_source
from facemae.faces.importers.storage import Skipped

__all__ = [
    "Entry",
    "FlatRule",
    "ImportReport",
    "Landmarks",
    "Layout",
    "Photo",
    "Skipped",
    "Source",
    "import_photos",
    "open_source",
    "read_landmarks",
]
