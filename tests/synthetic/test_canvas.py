"""Drawing primitives, and that the package needs no torch."""

import subprocess
import sys

import numpy as np
import pytest

from style_match.synthetic.canvas import Canvas
from style_match.synthetic.world import hsv, rgb, shade


def painted(canvas: Canvas) -> np.ndarray:
    return np.asarray(canvas.finish()).any(-1)


def test_mirrored_shapes_are_symmetric():
    canvas = Canvas(size_px=64, supersample=2)
    canvas.place(centre_x=0.5, centre_y=0.5, scale=0.1)
    canvas.ellipse(2, 0, 1, 1, "#ffffff", mirrored=True)
    left, right = np.split(painted(canvas), 2, axis=1)
    assert left.sum() > 50 and abs(int(left.sum()) - int(right.sum())) <= 0.1 * left.sum()


def test_an_ellipse_has_its_area_where_it_is_placed():
    canvas = Canvas(size_px=100, supersample=2)
    canvas.place(centre_x=0.5, centre_y=0.4, scale=0.1)
    canvas.ellipse(0, 1, 2, 1, "#ffffff")
    ys, xs = np.nonzero(painted(canvas))
    assert abs(len(xs) - np.pi * 20 * 10) < 60
    assert abs(xs.mean() - 50) < 1 and abs(ys.mean() - 50) < 1


@pytest.mark.parametrize(("factor", "expected"), [(0, (0, 0, 0)), (1, (100, 50, 0)), (2, (255, 255, 255))])
def test_shade_goes_from_black_to_white(factor, expected):
    assert shade((100, 50, 0), factor) == expected


def test_colours():
    assert rgb("#ff8000") == (255, 128, 0)
    assert hsv(1.0, 1, 1) == hsv(0.0, 2, 3) == (255, 0, 0)


def test_drawing_does_not_import_torch():
    code = "import style_match.synthetic.dataset, style_match.synthetic.captions, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
