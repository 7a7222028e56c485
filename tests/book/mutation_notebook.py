"""The small notebook whose outputs `test_comparator_mutations.py` changes: its set-up cell and its reference cells."""

from __future__ import annotations

from typing import Any

SETUP = """
import sys
import matplotlib.pyplot as plt, numpy as np, torch
from lvmlib.plotting import image_grid, use_style
use_style()
plt.rcParams["figure.constrained_layout.use"] = False  # quicker; nothing here depends on it

def curves(sign=1, colours=("C0", "C1"), legend=True, names=("train", "test"), xlabel="step", ylabel="nats",
           title="Loss", scale="linear", size=(4, 2.5), noise=0.0, seed=0, shift=0.0, style="-", both=True, top=None):
    figure, ax = plt.subplots(figsize=size)
    x = np.linspace(0, 1, 80)
    rng = np.random.default_rng(seed)
    for colour, name, rate in list(zip(colours, names, (5, 3)))[: 2 if both else 1]:
        y = 80 * np.exp(-rate * x[::sign]) + 90 + shift + noise * rng.standard_normal(80)
        ax.plot(x, y, style, color=colour, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title, yscale=scale)
    if top: ax.set_ylim(0, top)
    if legend: ax.legend()

def histogram(seed=0, jitter=0.0, width=1.0, **how):
    figure, ax = plt.subplots(figsize=(4, 2.5))
    ax.hist(width * np.random.default_rng(seed).standard_normal(400) + jitter, bins=np.linspace(-4, 4, 25), **how)
    ax.set(xlabel="z", ylabel="count")

def digits(order=range(10), jitter=0.0):
    i, j = np.indices((8, 8))
    images = np.stack([(np.sin(0.3 * k * i) * np.cos(0.5 * k * j) + 1) / 2 for k in range(10)])
    image_grid(np.clip(images[list(order)] + jitter, 0, 1), columns=5)

def texts(x=0.3, note=(0.2, 0.5), arrow=True, percent=False):
    figure, ax = plt.subplots(figsize=(4, 2.5))
    ax.plot([0, 1], [0, 1])
    ax.text(x, 0.8, "here")
    ax.annotate("there", (0.5, 0.5), note, arrowprops={"arrowstyle": "->"} if arrow else None)
    if percent: ax.yaxis.set_major_formatter("{x:.0%}")

def matrix(rows=range(12), columns=range(12)):
    figure, ax = plt.subplots(figsize=(2.5, 2.5))
    ax.imshow(np.random.default_rng(0).random((12, 12))[list(rows)][:, list(columns)])

class Row:
    def __init__(self, cells): self.cells = cells
    def __repr__(self): return "Row"
    def _repr_html_(self): return f"<table><tr><th>train</th><th>test</th></tr><tr>{self.cells}</tr></table>"

class Table:
    def __init__(self, value, unit="nats"): self.value, self.unit = value, unit
    def __repr__(self): return "Table"
    def _repr_html_(self):
        return (f"<style>td{{color:red}}</style><table id='{id(self)}'><tr><th>model</th><th>{self.unit}</th></tr>"
                f"<tr><td>VAE</td><td>{self.value:.2f}</td></tr></table>")
"""

NUMBERS = """print("test NLL 89.04 nats (1,234 images, 12.5% of them hard)")
print("step 1e-3, error 3.21e-05 +- 0.02, KL -0.137, rate inf, undefined nan")
print("15 of 50 units active, code 0110, beta 0.5")"""

LIVE = {"walk"}  # figures that a script of the page puts in motion

# name: (code, metadata of the cell)
REFERENCE: dict[str, tuple[str, dict[str, Any]]] = {
    "numbers": (NUMBERS, {}),
    "tensor": ("torch.tensor([[0.1234, -0.5678], [0.25, 9.5]])", {}),
    "trained": ('print("ELBO -104.32 nats, 15 units")', {"tolerance": {"rtol": 0.02}}),
    "curves": ("curves()", {}),
    "trained curves": ("curves(noise=1.0)", {"tolerance": {"rtol": 0.05}}),
    "histogram": ("histogram()", {}),
    "digits": ("digits()", {}),
    "table": ("Table(89.04)", {}),
    "live": ('print("z = 0.50")\ncurves()', {"tags": ["live:walk"]}),
    "not live": ("curves(noise=0.1)", {"tags": ["live:anything"]}),
    "texts": ("texts()", {}),
    "matrix": ("matrix()", {}),
    "table of text": ("print('model   train    test\\nPCA             79.20\\nVAE     80.10   81.30')", {}),
    "empty cells": ("Row('<td>79.20</td><td></td>')", {}),
    "bar": ('print("done")\nprint("  50%|#####     | 5/10 [00:01<00:01, 4.2it/s]", file=sys.stderr)', {}),
    "error": ('raise ValueError("got 3 dimensions")', {"tags": ["raises-exception"]}),
}
