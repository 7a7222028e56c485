"""The description of a figure: each part of it must notice what it is there for."""

from __future__ import annotations

import json
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch

from book._tools.figures import FIGURE_MIME, describe, description
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
