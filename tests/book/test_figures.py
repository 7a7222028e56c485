"""The description of a figure: each part of it must notice what it is there for."""

from __future__ import annotations

import json
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch

from book._tools.figures import FIGURE_MIME, describe, description
from book._tools.images import FEATURES, copy, features, pack, restore, unpack
from lvmlib.plotting import image_grid, use_style

mpl.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def style():
    use_style()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a figure that draws with a warning is not finished
        yield
    plt.close("all")


def reference():
    figure, ax = plt.subplots()
    x = np.linspace(0.1, 1, 50)
    ax.plot(x, x**2, label="train")
    ax.plot(x, x**3, "o-", label="test")
    ax.bar([0.2, 0.4], [0.3, 0.5], width=0.1)
    ax.text(0.5, 0.6, "here")
    ax.annotate("there", (0.5, 0.2), (0.7, 0.4), arrowprops={"arrowstyle": "->"})
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
    "a text elsewhere": lambda ax: ax.texts[0].set_position((0.3, 0.6)),
    "a text turned": lambda ax: ax.texts[0].set_rotation(90),
    "colour of a text": lambda ax: ax.texts[0].set_color("C1"),
    "a note elsewhere": lambda ax: setattr(ax.texts[1], "xyann", (0.4, 0.5)),
    "a note that points elsewhere": lambda ax: setattr(ax.texts[1], "xy", (0.4, 0.5)),
    "arrow gone": lambda ax: setattr(ax.texts[1], "arrow_patch", None),
    "arrow turned round": lambda ax: ax.texts[1].arrow_patch.set_arrowstyle("<-"),
    "arrow dashed": lambda ax: ax.texts[1].arrow_patch.set_linestyle("--"),
    "percent": lambda ax: ax.yaxis.set_major_formatter("{x:.0%}"),
    "decimals of tick labels": lambda ax: ax.xaxis.set_major_formatter("{x:.3f}"),
    "tick labels gone": lambda ax: ax.tick_params(labelbottom=False),
    "other ticks": lambda ax: ax.set_xticks([0.2, 0.6]),
    "ticks exchanged": lambda ax: ax.set_xticks([0.2, 0.4], ["0.4", "0.2"]),
    "bars dashed": lambda ax: [p.set_linestyle("--") for p in ax.patches],
    "bars hollow": lambda ax: [p.set_fill(False) for p in ax.patches],
    "bars hatched": lambda ax: [p.set_hatch("/") for p in ax.patches],
    "edges of bars": lambda ax: [p.set_edgecolor("C3") for p in ax.patches],
    "bars transparent": lambda ax: [p.set_alpha(0.2) for p in ax.patches],
    "wider line": lambda ax: ax.lines[0].set_linewidth(5),
    "hollow markers": lambda ax: ax.lines[1].set_markerfacecolor("white"),
    "dashes in the legend": lambda ax: ax.get_legend().legend_handles[0].set_linestyle("--"),
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
    def described(values):
        figure, ax = plt.subplots()
        draw(ax, values)
        ax.set(xlim=(-9, 50), ylim=(-9, 50))
        return describe(figure)

    rng = np.random.default_rng(0)
    values, others = rng.standard_normal(40), rng.standard_normal(40)
    assert described(values) == described(values * (1 + 1e-9))
    assert described(values) != described(others)
    json.dumps(described(values), allow_nan=False)


@pytest.mark.parametrize("kind", ["imshow", "pcolormesh"])
def test_description_notices_every_exchange_in_a_small_matrix(kind):
    def described(matrix):
        figure, ax = plt.subplots()
        getattr(ax, kind)(matrix)
        about = describe(figure)
        plt.close(figure)
        return about

    matrix = np.random.default_rng(0).random((27, 27))
    before = described(matrix)
    for i in range(26):
        rows, columns = list(range(27)), list(range(27))
        rows[i : i + 2] = columns[i : i + 2] = i + 1, i
        assert described(matrix[rows]) != before
        assert described(matrix[:, columns]) != before


def test_description_of_a_grid_tells_about_each_tile():
    images = torch.rand(7, 1, 14, 14).round()
    (grid,) = describe(image_grid(images, columns=4).figure)["axes"][0]["images"]
    assert grid["tiles"] == "grid of 7: 2 x 4 tiles of 14 x 14, gap 2"
    assert grid["size"] == [7, 1, 7, 7]
    features = unpack(grid["features"], "<u2").reshape(7, len(FEATURES))
    assert features[:, 0] == pytest.approx(images.mean((1, 2, 3)).numpy(), abs=1e-4)
    assert features[:, 3:5] == pytest.approx(0)  # neither grey nor coloured
    boards = unpack(grid["boards"], "u1").reshape(7, 7, 7)
    assert boards[3] == pytest.approx(images[3, 0].view(7, 2, 7, 2).mean((1, 3)).numpy(), abs=3e-3)


@pytest.mark.parametrize(
    "change", [lambda x: x.flip(-2), lambda x: x.flip(-1), lambda x: x.mT, lambda x: x.roll(1, -1)]
)
def test_features_of_a_tile_move_with_single_pixels(change):
    tiles = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)).round()
    before = features(tiles.numpy())
    assert np.abs(features(change(tiles).numpy()) - before).max(axis=1).min() > 0.01
    tiles[:, :, 14, 14] = 1 - tiles[:, :, 14, 14]
    assert np.abs(features(tiles.numpy()) - before).max(axis=1).min() > 1e-3


def test_packed_numbers_come_back():
    values = np.array([0.0, 0.25, 1.0, np.nan])
    for kind, step in (("u1", 1 / 254), ("<u2", 1 / 65534)):
        back = unpack(pack(values, kind), kind)
        assert np.isnan(back[3])
        assert back[:3] == pytest.approx(values[:3], abs=step)
    matrix = np.array([[-3.0, 5.0], [np.nan, 1.0]])
    assert np.nan_to_num(restore(copy(matrix))[0], nan=9) == pytest.approx(np.nan_to_num(matrix, nan=9), abs=0.04)


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
    monkeypatch.setattr("book._tools.figures.describe_axes", lambda ax, detail: 1 / 0)
    assert description(reference()[0]) == ({}, {FIGURE_MIME: {"error": "ZeroDivisionError: division by zero"}})
