"""The command line; the only room that prints."""

from facemae.cli.entry import main

__all__ = ["main"]
