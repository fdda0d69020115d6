"""facemae: face datasets that still train good recognisers but give their people away less, measured."""

__version__ = "0.1.0"
