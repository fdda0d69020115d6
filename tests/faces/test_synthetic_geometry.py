"""The synthetic head's arithmetic: rotation, projection, alignment, rasterisation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facemae.faces.align import ARCFACE_TEMPLATE
from facemae.faces.synthetic.anatomy import CHANGE_NAMES, SHAPE_MODES
from facemae.faces.synthetic.head import grid_triangles, head_surface, landmark_weights, vertex_normals
from facemae.faces.synthetic.raster import rasterize
from facemae.faces.synthetic.scene import aligned_camera, project, rotation

POINTS = np.array([(100, 120), (180, 110), (145, 165), (115, 210), (178, 203)], dtype=float)
GOLDEN = np.array([(0.442190, -0.037172, -1.465296), (0.037172, 0.442190, -4.894945)])


def test_camera_without_jitter_is_the_golden_similarity():
    np.testing.assert_allclose(aligned_camera(POINTS, np.zeros((5, 2)), 112), GOLDEN, atol=2e-6)
    np.testing.assert_allclose(aligned_camera(POINTS, np.zeros((5, 2)), 56), GOLDEN / 2, atol=2e-6)


def test_jitter_is_in_template_pixels():
    """A detector that sees all points 3 pixels too far right makes a crop 3 pixels too far left."""
    upright = (ARCFACE_TEMPLATE - 10) / 0.5
    camera = aligned_camera(upright, np.tile([3.0, 0.0], (5, 1)), 112)
    np.testing.assert_allclose(camera, [(0.5, 0, 7), (0, 0.5, 10)], atol=1e-9)


def test_projection_by_hand():
    points = np.array([(30.0, 0.0, 0.0), (30.0, 40.0, 100.0), (0.0, -20.0, -250.0)]).T
    # 1000 mm away: z = 100 is enlarged by 1000/900, z = -250 shrunk by 1000/1250; y turns downwards.
    np.testing.assert_allclose(project(points, 1000.0).T, [(30, 0), (100 / 3, -400 / 9), (0, 16)], rtol=1e-6)


def test_rotations_turn_the_way_they_say():
    nose = np.array([0.0, 0.0, 1.0], dtype=np.float32)
    np.testing.assert_allclose(rotation(90.0, 0.0, 0.0) @ nose, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(rotation(0.0, 30.0, 0.0) @ nose, [0, 0.5, np.sqrt(0.75)], atol=1e-6)
    np.testing.assert_allclose(rotation(0.0, 0.0, 90.0) @ np.array([1, 0, 0]), [0, 1, 0], atol=1e-6)
    matrix = rotation(33.0, -21.0, 14.0)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)


def test_one_triangle_covers_the_pixels_that_a_direct_test_finds():
    points = np.array([(1.2, 8.7, 3.1), (0.6, 3.9, 9.2)], dtype=np.float32)
    triangle = np.array([[0], [2], [1]], dtype=np.int32)
    seen = rasterize(points, np.zeros(3, dtype=np.float32), triangle, 10)
    y, x = np.mgrid[:10, :10]
    corners = points.T.astype(float)

    def turn(a, b):
        return (b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])

    sides = np.stack([turn(corners[0], corners[1]), turn(corners[1], corners[2]), turn(corners[2], corners[0])])
    np.testing.assert_array_equal(seen.pixel, np.flatnonzero((sides >= 0).all(0)))
    assert len(rasterize(points, np.zeros(3, dtype=np.float32), triangle[::-1], 10).pixel) == 0


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_interpolation_reproduces_the_pixel_position_and_the_nearest_depth(seed):
    """Barycentric weights of the winner give back its pixel; no covering triangle is nearer (brute-force oracle)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-3, 15, (2, 18)).astype(np.float32)
    depth = rng.uniform(-50, 50, 18).astype(np.float32)
    triangles = np.arange(18, dtype=np.int32).reshape(3, 6)
    triangles = np.concatenate([triangles, triangles[::-1]], axis=1)
    seen = rasterize(points, depth, triangles, 12)
    found = seen.interpolate(np.concatenate([points, depth[None]]).T)
    np.testing.assert_allclose(found[0], seen.pixel % 12, atol=0.02)
    np.testing.assert_allclose(found[1], seen.pixel // 12, atol=0.02)
    best = np.full(144, -np.inf)
    for corner in triangles.T[:6]:
        matrix = np.stack([points[0, corner], points[1, corner], np.ones(3)]).astype(float)
        weights = np.linalg.solve(matrix, np.stack([np.arange(144) % 12, np.arange(144) // 12, np.ones(144)]))
        best = np.maximum(best, np.where((weights > 1e-3).all(0), depth[corner] @ weights, -np.inf))
    sure = np.isfinite(best[seen.pixel])
    assert (found[2][sure] >= best[seen.pixel][sure] - 0.05).all()
    assert np.isin(np.flatnonzero(np.isfinite(best)), seen.pixel).all()


def test_normals_of_a_sphere_point_outwards():
    azimuth, height = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(1, -1, 40))
    sphere = np.stack([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    np.testing.assert_allclose(vertex_normals(sphere)[:, 1:-1, 1:-1], sphere[:, 1:-1, 1:-1], atol=1e-6)


def test_grid_triangles_face_outwards_and_tile_every_cell():
    triangles = grid_triangles(2, 2)
    # Rows run downwards and columns to the right: 0 1 / 2 3, seen from outside with y up, counter-clockwise.
    np.testing.assert_array_equal(triangles.T, [(0, 2, 1), (1, 2, 3)])
    assert grid_triangles(5, 7).shape == (3, 2 * 4 * 6)


def test_landmarks_of_the_mean_head():
    surface = head_surface()
    index, weight = landmark_weights()
    np.testing.assert_allclose(weight.sum(1), 1, atol=1e-6)
    left, right, nose, mouth_left, mouth_right = (surface.mean.reshape(3, -1)[:, index] * weight).sum(-1).T
    np.testing.assert_allclose(left * (-1, 1, 1), right, atol=1e-3)
    np.testing.assert_allclose(mouth_left * (-1, 1, 1), mouth_right, atol=1e-3)
    assert 56 < right[0] - left[0] < 68  # people's pupils are 54-74 mm apart
    assert nose[2] > max(left[2], mouth_left[2]) + 15
    assert left[1] > nose[1] > mouth_left[1]


@pytest.mark.parametrize("mode", range(len(SHAPE_MODES)))
def test_every_shape_mode_moves_something_visibly(mode):
    """One standard deviation moves some point by 0.5 to 12 mm: neither a dead direction nor a deformity."""
    largest = np.linalg.norm(head_surface().shape_modes[mode].reshape(3, -1), axis=0).max()
    assert 0.5 < largest < 12


def test_deformation_is_linear_and_jaw_opening_parts_the_lips():
    surface = head_surface()
    nothing, still = np.zeros(len(SHAPE_MODES), np.float32), np.zeros(len(CHANGE_NAMES), np.float32)
    np.testing.assert_array_equal(surface.deform(nothing, still), surface.mean)
    jaw = still.copy()
    jaw[CHANGE_NAMES.index("jaw_open")] = 0.5
    moved = surface.deform(nothing, jaw)[1] - surface.mean[1]
    middle = surface.s.shape[1] // 2
    above, below = (np.abs(surface.v[:, middle] - v).argmin() for v in (-69, -78))
    assert abs(moved[above, middle]) < 0.1
    assert moved[below, middle] == pytest.approx(-6.0, abs=0.1)  # half of 12 mm
