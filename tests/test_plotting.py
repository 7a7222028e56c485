"""The style and the image grid."""

from __future__ import annotations

import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch

from lvmlib.plotting import COLOURS, image_grid, notebook_png, use_style

mpl.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def style():
    use_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a figure that draws with a warning is not finished
        yield
    plt.close("all")


def relative_luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_import_of_the_library_leaves_matplotlib_alone():
    code = "import sys, lvmlib.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_first_colours_stand_out_on_paper():
    assert len(COLOURS) == len(set(COLOURS.values())) == 8
    contrast = [1.05 / (relative_luminance(c) + 0.05) for c in list(COLOURS.values())[:3]]
    assert min(contrast) > 3  # WCAG 1.4.11: graphics


def test_style_puts_a_users_settings_aside():
    mpl.rcParams["font.size"] = 3
    mpl.rcParams["lines.linestyle"] = ":"
    use_style()
    assert mpl.rcParams["font.size"] == 11.5
    assert mpl.rcParams["lines.linestyle"] == "-"


def test_picture_is_the_same_each_time_and_opaque_white():
    def draw():
        figure, ax = plt.subplots()
        ax.plot([0, 1], [0, 1], label="a")
        ax.legend()
        return notebook_png(figure)

    (first, size), (second, _) = draw(), draw()
    assert first == second
    assert 590 < size["width"] < 620  # 6 inches at 100 pixels

    import base64
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(first))).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
    assert picture.width > 1.7 * size["width"]
    assert notebook_png(plt.figure()) is None  # an empty figure is no output


def test_grid_places_every_tile():
    images = torch.arange(5.0)[:, None, None, None].expand(5, 1, 2, 3) / 4
    grid = image_grid(images, columns=2, gap=1).images[0].get_array()
    assert grid.shape == (3 * 2 + 2, 2 * 3 + 1)
    for i in range(5):
        top, left = i // 2 * 3, i % 2 * 4
        np.testing.assert_allclose(grid[top : top + 2, left : left + 3], i / 4)
    assert (grid[2] == 0).all()
    assert (grid[:, 3] == 0).all()
    assert (grid[6:, 4:] == 0).all()  # gaps and the tile that is not there are blank paper


def test_grid_takes_bytes_floats_colours_and_lists():
    bytes_ = torch.randint(0, 256, (4, 1, 3, 3), dtype=torch.uint8)
    np.testing.assert_allclose(
        image_grid(bytes_).images[0].get_array(), image_grid(bytes_.float() / 255).images[0].get_array(), atol=1e-6
    )
    colour = image_grid(torch.rand(4, 3, 5, 5), columns=4, gap=0).images[0].get_array()
    assert colour.shape == (5, 20, 3)
    assert image_grid(list(torch.rand(3, 1, 2, 2)), columns=9).images[0].get_array().shape == (2, 10)
    assert image_grid(np.random.default_rng(0).random((2, 4, 4)), columns=1).images[0].get_array().shape == (10, 4)
    signed = image_grid(torch.tensor([[[[-1.0, 1.0]]]]), limits=(-1, 1)).images[0].get_array()
    assert signed.tolist() == [[0.0, 1.0]]


def test_grid_is_ink_on_paper_with_labels():
    ax = image_grid(torch.rand(6, 1, 8, 8), columns=3, row_labels=["data", "model"], column_labels=list("abc"))
    assert ax.images[0].get_cmap().name == "gray_r"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["data", "model"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    _, mine = plt.subplots()
    assert image_grid(torch.rand(2, 1, 4, 4), ax=mine) is mine


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (torch.rand(2, 5), {}, r"got \[2, 5\]"),
        (torch.rand(2, 4, 8, 8), {}, r"\[2, 4, 8, 8\]"),
        (torch.rand(0, 1, 8, 8), {}, "shape"),
        ([], {}, "empty"),
        (torch.full((1, 1, 2, 2), 255.0), {}, "uint8"),
        (torch.full((1, 1, 2, 2), torch.nan), {}, "not finite"),
        (torch.rand(4, 1, 2, 2), {"columns": 0}, "columns"),
        (torch.rand(4, 1, 2, 2), {"columns": 2, "row_labels": ["one"]}, "2 rows"),
        (torch.rand(4, 1, 2, 2), {"limits": (1, 0)}, "low < high"),
    ],
)
def test_grid_refuses(images, options, message):
    with pytest.raises(ValueError, match=message):
        image_grid(images, **options)
