"""The head in numbers: its rows, features, and the directions in which heads differ and change (millimetres)."""

from dataclasses import dataclass

import numpy as np

Millimetres = float | int

TOP, CROWN = 115.0, 30.0

# Height v (mm) -> half width, depth of the front, depth of the back, rise of the row from the middle to the ear.
ROWS = np.array(
    [
        (115, 76, 93, 100, 0),
        (30, 76, 93, 100, 0),
        (12, 75, 93, 99, 0),
        (0, 73.5, 89, 97, 0),
        (-20, 71.5, 88, 92, 1),
        (-45, 67.5, 87, 84, 3),
        (-73, 60, 86, 72, 9),
        (-95, 54.5, 84, 66, 21),
        (-108, 52, 84, 62, 29),
        (-117, 50, 80, 60, 34),
        (-123, 49, 67, 58, 36),
        (-130, 50, 46, 58, 34),
        (-145, 53, 36, 60, 22),
        (-165, 60, 36, 66, 10),
        (-185, 95, 42, 74, 0),
        (-230, 190, 55, 90, 0),
    ],
    dtype=np.float64,
)
# Height of the nose above the face (mm) and its half width along v.
NOSE = np.array(
    [
        (18, 0.5, 8),
        (8, 2.5, 7),
        (0, 5.0, 6),
        (-10, 9.5, 6),
        (-20, 14.5, 6.6),
        (-30, 20.5, 8),
        (-36, 23.0, 8.6),
        (-40, 22.5, 9.2),
        (-44, 18.0, 9.4),
        (-48, 10.0, 9),
        (-52, 4.0, 8),
        (-58, 0.0, 8),
    ],
    dtype=np.float64,
)


@dataclass(frozen=True)
class Bump:
    """A Gaussian window at (±s, v) that moves the surface by (dx, dy, dz); dx points outwards if mirrored."""

    s: float
    v: float
    width: float
    height: float
    dx: float = 0.0
    dy: float = 0.0
    dz: float = 0.0
    odd: bool = False  # the right half moves against the left one: an asymmetry


@dataclass(frozen=True)
class Scale:
    """Stretches one axis by a fraction, about `pivot`, in a Gaussian window of heights."""

    axis: int
    v: float
    height: float
    fraction: float
    pivot: float = 0.0
    skull: bool = False  # hair follows this mode


FEATURES = (
    Bump(32.0, 3.0, 13.0, 8.5, dz=-9.0),  # eye socket
    Bump(32.0, 0.0, 8.5, 5.5, dz=6.5),  # eyeball under the lids
    Bump(13.0, 2.0, 5.0, 7.0, dz=-4.0),  # inner corner, beside the root of the nose
    Bump(24.0, 18.0, 15.0, 5.5, dz=4.0),  # ridge of the brow
    Bump(0.0, 45.0, 34.0, 16.0, dz=2.0),  # forehead
    Bump(50.0, -22.0, 15.0, 11.0, dx=3.0, dz=4.5),  # cheekbone
    Bump(52.0, -58.0, 15.0, 14.0, dx=-2.0, dz=-4.0),  # hollow below it
    Bump(88.0, 24.0, 14.0, 16.0, dx=-3.0),  # temple
    Bump(12.5, -42.0, 4.2, 4.2, dx=1.0, dz=7.0),  # wings of the nose
    Bump(7.0, -48.5, 3.0, 2.2, dz=-4.0),  # nostril
    Bump(19.0, -52.0, 5.0, 11.0, dz=-1.6),  # fold from nose to mouth
    Bump(0.0, -68.0, 15.0, 9.0, dz=4.0),  # muzzle
    Bump(0.0, -68.5, 13.0, 3.0, dz=3.2),  # upper lip
    Bump(0.0, -58.0, 2.2, 6.0, dz=-1.3),  # groove above it
    Bump(0.0, -73.2, 17.0, 1.4, dz=-2.4),  # between the lips
    Bump(0.0, -78.0, 12.0, 3.8, dz=4.6),  # lower lip
    Bump(0.0, -88.0, 15.0, 4.5, dz=-3.2),  # below it
    Bump(0.0, -106.0, 13.0, 9.0, dz=6.5),  # chin
    Bump(25.0, -74.0, 5.0, 5.0, dz=-1.5),  # corner of the mouth
)

# One standard deviation of every independent direction in which people differ.
SHAPE_MODES: tuple[Bump | Scale, ...] = (
    Scale(0, -20.0, 140.0, 0.045, skull=True),
    Scale(2, 20.0, 140.0, 0.035, skull=True),
    Scale(0, 60.0, 40.0, 0.04, skull=True),
    Scale(0, -25.0, 24.0, 0.04),
    Scale(0, -85.0, 30.0, 0.075),
    Scale(0, -112.0, 16.0, 0.12),
    Scale(1, -120.0, 38.0, 0.055, pivot=-60.0),
    Scale(1, 90.0, 50.0, 0.05, pivot=20.0, skull=True),
    Scale(1, -50.0, 30.0, 0.06, pivot=-10.0),
    Bump(32.0, 0.0, 17.0, 13.0, dx=2.2),
    Bump(32.0, 2.0, 15.0, 10.0, dz=2.2),
    Bump(32.0, 2.0, 16.0, 10.0, dy=1.8),
    Bump(40.0, 0.0, 8.0, 7.0, dy=1.6),
    Bump(20.0, 1.0, 7.0, 7.0, dy=1.1),
    Bump(32.0, 0.0, 9.0, 5.0, dz=1.8),
    Bump(24.0, 17.0, 16.0, 6.0, dz=2.4),
    Bump(30.0, 18.0, 15.0, 6.0, dy=2.0),
    Bump(0.0, 20.0, 10.0, 8.0, dz=2.0),
    Bump(0.0, 50.0, 36.0, 18.0, dz=3.5),
    Bump(0.0, 75.0, 40.0, 20.0, dz=3.5),
    Bump(0.0, -30.0, 10.0, 18.0, dz=3.4),
    Bump(0.0, -39.0, 10.0, 7.0, dz=2.8),
    Bump(0.0, -39.0, 12.0, 8.0, dy=2.8),
    Bump(0.0, -15.0, 7.0, 9.0, dz=2.2),
    Bump(0.0, 2.0, 8.0, 8.0, dz=2.2),
    Bump(11.0, -42.0, 7.0, 7.0, dx=2.3),
    Bump(12.0, -42.0, 5.0, 5.0, dz=2.0),
    Bump(8.0, -18.0, 6.0, 14.0, dx=1.4),
    Bump(9.0, -25.0, 6.0, 14.0, dz=1.6),
    Bump(7.0, -47.0, 8.0, 5.0, dy=1.6),
    Bump(50.0, -20.0, 16.0, 12.0, dx=2.4, dz=2.4),
    Bump(46.0, -30.0, 16.0, 12.0, dy=2.5, dz=1.5),
    Bump(50.0, -58.0, 17.0, 15.0, dx=3.0, dz=2.8),
    Bump(40.0, -75.0, 16.0, 14.0, dz=2.5),
    Bump(0.0, -70.0, 20.0, 13.0, dz=2.8),
    Bump(22.0, -73.0, 9.0, 7.0, dx=2.6),
    Bump(22.0, -73.0, 10.0, 7.0, dy=1.6),
    Bump(0.0, -73.0, 26.0, 9.0, dy=2.2),
    Bump(0.0, -67.0, 14.0, 5.0, dz=1.7, dy=0.6),
    Bump(0.0, -79.0, 14.0, 5.0, dz=1.7, dy=-0.6),
    Bump(0.0, -59.0, 18.0, 7.0, dz=1.5),
    Bump(0.0, -90.0, 16.0, 6.0, dz=2.2),
    Bump(0.0, -107.0, 14.0, 9.0, dz=4.0),
    Bump(0.0, -110.0, 20.0, 10.0, dy=3.2),
    Bump(10.0, -110.0, 8.0, 9.0, dz=1.8),
    Bump(60.0, -95.0, 20.0, 16.0, dx=3.0, dy=-2.0),
    Bump(85.0, 20.0, 18.0, 18.0, dx=2.5),
    Bump(122.0, -15.0, 22.0, 26.0, dx=2.6),
    Bump(122.0, -35.0, 22.0, 16.0, dy=-2.4),
    Bump(0.0, -36.0, 10.0, 12.0, dx=1.2, odd=True),
    Bump(0.0, -76.0, 24.0, 10.0, dx=1.0, odd=True),
    Bump(0.0, -108.0, 22.0, 12.0, dx=1.4, odd=True),
    Bump(30.0, 14.0, 18.0, 10.0, dy=0.8, odd=True),
    Bump(24.0, -73.0, 9.0, 7.0, dy=0.8, odd=True),
)

# Unit expressions and the slow changes of a body, in this order (see nuisance.py for their strengths).
CHANGE_NAMES = ("smile", "jaw_open", "brow_raise", "frown", "pucker", "weight", "sag")
CHANGES: dict[str, tuple[Bump | Scale, ...]] = {
    "smile": (
        Bump(25.0, -73.0, 9.0, 8.0, dx=5.0, dy=4.2, dz=-2.5),
        Bump(42.0, -38.0, 15.0, 13.0, dx=1.5, dy=3.0, dz=4.0),
        Bump(22.0, -54.0, 5.0, 10.0, dz=-1.8),
        Bump(32.0, -9.0, 12.0, 5.0, dy=1.0, dz=1.2),
        Bump(0.0, -73.0, 12.0, 8.0, dz=-1.5),
    ),
    "jaw_open": (),
    "brow_raise": (Bump(28.0, 20.0, 20.0, 8.0, dy=5.0), Bump(28.0, 8.0, 14.0, 5.0, dy=1.8)),
    "frown": (Bump(14.0, 17.0, 10.0, 7.0, dx=-2.6, dy=-2.6, dz=1.2), Bump(0.0, 20.0, 6.0, 7.0, dz=1.2)),
    "pucker": (Bump(22.0, -73.0, 10.0, 9.0, dx=-5.5, dz=1.5), Bump(0.0, -73.0, 13.0, 9.0, dz=4.0)),
    "weight": (
        Bump(52.0, -62.0, 20.0, 20.0, dx=4.5, dz=4.0),
        Bump(0.0, -122.0, 34.0, 9.0, dy=-2.5, dz=3.5),
        Scale(0, -95.0, 40.0, 0.035),
    ),
    "sag": (
        Bump(44.0, -92.0, 14.0, 13.0, dx=2.0, dy=-3.0, dz=2.0),
        Bump(50.0, -48.0, 15.0, 13.0, dx=-1.5, dz=-2.4),
        Bump(0.0, -40.0, 10.0, 8.0, dy=-2.0, dz=0.8),
        Bump(0.0, -72.0, 16.0, 7.0, dz=-1.6),
        Bump(122.0, -30.0, 22.0, 18.0, dy=-3.0),
        Bump(34.0, 9.0, 13.0, 5.0, dy=-1.4),
    ),
}
