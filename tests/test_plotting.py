"""The style, the image grid, and the description of a figure: each part of it must notice what it is there for."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch

from lvmlib.plotting import COLOURS, FIGURE_MIME, describe, image_grid, notebook_description, notebook_png, use_style

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


# -- the description


def reference():
    figure, ax = plt.subplots()
    x = np.linspace(0.1, 1, 50)
    ax.plot(x, x**2, label="train")
    ax.plot(x, x**3, label="test")
    ax.set(xlabel="step", ylabel="nats", title="Loss")
    ax.legend()
    return figure, ax


CHANGES = {
    "title": lambda ax: ax.set_title("Gain"),
    "left title": lambda ax: ax.set_title("a", loc="left"),
    "label": lambda ax: ax.set_ylabel("bits"),
    "legend gone": lambda ax: ax.get_legend().remove(),
    "legend title": lambda ax: ax.legend(title="set"),
    "legend order": lambda ax: ax.legend(["test", "train"]),
    "scale": lambda ax: ax.set_yscale("log"),
    "scale that changes no number": lambda ax: (ax.set_yscale("function", functions=(abs, abs)), ax.autoscale(False)),
    "limits": lambda ax: ax.set_xlim(0, 5),
    "direction": lambda ax: ax.invert_yaxis(),
    "ticks": lambda ax: ax.set_xticks([0.2, 0.4], ["a", "b"]),
    "colour": lambda ax: ax.lines[0].set_color("red"),
    "dashes": lambda ax: ax.lines[0].set_linestyle("--"),
    "marker": lambda ax: ax.lines[0].set_marker("o"),
    "data": lambda ax: ax.lines[0].set_ydata(ax.lines[0].get_ydata()[::-1]),
    "one more curve": lambda ax: ax.plot([0.5], [0.5]),
    "a curve hidden": lambda ax: ax.lines[1].set_visible(False),
    "text": lambda ax: ax.text(0.5, 0.5, "here"),
    "span": lambda ax: ax.axvspan(0.2, 0.3),
    "band": lambda ax: ax.fill_between([0.1, 1], [0, 0], [1, 1]),
    "points": lambda ax: ax.scatter([0.5], [0.5]),
    "inset": lambda ax: ax.inset_axes([0.5, 0.5, 0.2, 0.2]).set_xlabel("zoom"),
    "second axis": lambda ax: ax.twinx().set_ylabel("bits"),
    "table": lambda ax: ax.table([["1"]]),
    "figure title": lambda ax: ax.figure.suptitle("Both"),
    "figure legend": lambda ax: ax.figure.legend(["one"]),
    "frame off": lambda ax: ax.set_axis_off(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_description_notices(change):
    before = describe(reference()[0])
    assert describe(reference()[0]) == before
    figure, ax = reference()
    CHANGES[change](ax)
    assert describe(figure) != before


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax, v: ax.scatter(v[:20], v[20:]),
        lambda ax, v: ax.scatter(range(40), range(40), c=v),
        lambda ax, v: ax.bar(range(40), v),
        lambda ax, v: ax.barh(range(40), v),
        lambda ax, v: ax.hist(v, bins=np.linspace(-3, 3, 9)),
        lambda ax, v: ax.hist(v, bins=np.linspace(-3, 3, 9), histtype="step"),
        lambda ax, v: ax.imshow(v.reshape(5, 8)),
        lambda ax, v: ax.imshow(np.clip(v[:36].reshape(3, 4, 3) / 6 + 0.5, 0, 1)),
        lambda ax, v: ax.pcolormesh(v.reshape(5, 8)),
        lambda ax, v: ax.contour(v.reshape(5, 8)),
        lambda ax, v: ax.contourf(v.reshape(5, 8), levels=[-1, 0, 1]),
        lambda ax, v: ax.quiver(v[:20], v[20:]),
        lambda ax, v: ax.errorbar(range(40), range(40), yerr=np.abs(v), fmt="none"),
        lambda ax, v: ax.fill_between(range(40), v, 5),
        lambda ax, v: ax.vlines(range(40), 0, v),
        lambda ax, v: ax.stem(range(40), v),
        lambda ax, v: ax.boxplot(v),
        lambda ax, v: ax.violinplot(v),
        lambda ax, v: ax.annotate("", (v[0], v[1]), (0, 0)) and ax.plot(v),
        lambda ax, v: ax.stairs(v),
        lambda ax, v: ax.hexbin(v[:20], v[20:], gridsize=5),
    ],
)
def test_description_holds_the_data_of_every_kind_of_plot(draw):
    def description(values):
        figure, ax = plt.subplots()
        draw(ax, values)
        ax.set(xlim=(-9, 50), ylim=(-9, 50))
        return describe(figure)

    rng = np.random.default_rng(0)
    values, others = rng.standard_normal(40), rng.standard_normal(40)
    assert description(values) == description(values * (1 + 1e-9))
    assert description(values) != description(others)
    json.dumps(description(values), allow_nan=False)


def test_description_of_permuted_digits_differs():
    images = torch.rand(10, 1, 8, 8)
    same, other = (describe(image_grid(images[p], columns=5).figure) for p in (list(range(10)), [1, 0, *range(2, 10)]))
    assert same != other


def test_description_of_three_dimensions():
    figure = plt.figure()
    ax = figure.add_subplot(projection="3d")
    ax.plot([0, 1], [0, 1], [2, 3])
    ax.set_zlabel("height")
    about = describe(figure)["axes"][0]
    assert about["zlabel"] == "height"
    assert about["artists"][0]["z"]["values"] == [2.0, 3.0]


def test_description_of_a_logarithmic_axis_is_in_decades():
    figure, ax = plt.subplots()
    ax.semilogy([0, 1, 2], [1e-6, 1.0, 0.0])
    about = describe(figure)["axes"][0]
    assert about["artists"][0]["y"]["values"] == [-6.0, 0.0, "nan"]
    assert about["yscale"] == "log"
    assert "xscale" not in about  # linear goes without saying


def test_description_stays_small():
    rng = np.random.default_rng(0)
    figure, ax = plt.subplots(2, 2)
    for i in range(40):
        ax[0, 0].plot(rng.standard_normal(5000).cumsum(), color=f"C{i % 4}")
    ax[0, 1].scatter(*rng.standard_normal((2, 20_000)), c=rng.random(20_000))
    ax[1, 0].imshow(rng.random((300, 300)))
    ax[1, 1].hist(rng.standard_normal(1000), bins=200)
    assert len(json.dumps(describe(figure))) < 10_000

    figure, axes = plt.subplots(2, 3)
    for ax in axes.flat:
        for i in range(4):
            ax.plot(rng.standard_normal(1000).cumsum(), label=f"run {i}")
    assert len(json.dumps(describe(figure))) < 10_000


def test_description_that_fails_says_so_and_the_picture_stays(monkeypatch):
    monkeypatch.setattr("lvmlib.plotting.describe_axes", lambda ax, detail: 1 / 0)
    assert notebook_description(reference()[0]) == ({}, {FIGURE_MIME: {"error": "ZeroDivisionError: division by zero"}})
