"""A homework of two questions, small enough to be graded in no time, and notebooks that answer it well and badly."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

MASTER = '''# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Homework 9: Two small questions
#
# **Time:** 1 hour. **Points:** 5.

# %%
import math
import numpy as np
import torch

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: Entropy of a coin (3 points)

# %% [raw]
# # BEGIN SOLUTION

# %%
def coin_entropy(p):
    """Return the entropy of a coin in bits, of the same shape as p."""
    # BEGIN SOLUTION
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    # END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_a_fair_coin(coin_entropy):
    import numpy as np
    from lvmlib.homework.checking import close, own

    own(coin_entropy)
    close(coin_entropy(np.array([0.5])), np.ones(1), "a fair coin has one bit")

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_random_coins(coin_entropy):
    import numpy as np
    from lvmlib.homework.checking import close, rng

    p = rng("coins").uniform(0.05, 0.95, size=4)
    want = [-sum(q * np.log2(q) for q in (x, 1 - x)) for x in p]
    close(coin_entropy(p), np.array(want), "entropy of several coins at once")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 2

# %% [markdown]
# ## Question 2: An experiment (2 points)

# %% [raw]
# # BEGIN SOLUTION

# %%
mean_entropy = float(coin_entropy(np.linspace(0.1, 0.9, 9)).mean())  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_it_is_a_number(mean_entropy):
    from lvmlib.homework.checking import as_array

    assert as_array(mean_entropy, "mean_entropy").shape == (), "one number is asked for"

# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
""" # END TEST CONFIG
def test_its_value(mean_entropy):
    import numpy as np
    from lvmlib.homework.checking import close

    p = np.linspace(0.1, 0.9, 9)
    close(mean_entropy, np.mean(-p * np.log2(p) - (1 - p) * np.log2(1 - p)), "mean over the nine coins")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
'''

IMPORTS = "import math\nimport numpy as np\nimport torch"
COIN = "def coin_entropy(p):\n    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))"
MEAN = "mean_entropy = float(coin_entropy(np.linspace(0.1, 0.9, 9)).mean())"
GOOD = (IMPORTS, COIN, MEAN)


def notebook(*cells: str, title: str = "Homework 9: Two small questions", **metadata: object) -> bytes:
    """Return the bytes of a notebook with these code cells."""
    text = [{"cell_type": "markdown", "source": [f"# {title}\n", "\n", "text"], "metadata": {}}] if title else []
    code = [{"cell_type": "code", "source": cell, "outputs": [], "metadata": {}} for cell in cells]
    return json.dumps({"cells": text + code, "nbformat": 4, "nbformat_minor": 5, "metadata": metadata}).encode()


def course(folder: Path, seed: int = 3) -> Path:
    """Write a course folder with the tiny homework, and return it."""
    home = folder / "course" / "09"
    (home / "master").mkdir(parents=True)
    (home / "master" / "09_tiny.py").write_text(MASTER, "utf-8")
    (home / "secret.json").write_text(json.dumps({"seed": seed}), "utf-8")
    return home


def fake(notebook: dict, master: str, seed: int, sandbox: str, limits: dict) -> dict:
    """Stand in for the grading of a notebook: give points for what its first cell says, or die."""
    first = notebook["cells"][0]["source"]
    with open(Path(master).parent / "log", "a") as log:
        log.write(first + "\n")
    if "die" in first:
        os._exit(3)
    if "hang" in first:
        time.sleep(60)
    print("this is no answer")
    good = "good" in first
    marks = [
        {"question": q, "part": part, "points": points * good, "out_of": points, "hidden": hidden, "reason": "" * good}
        for q, part, points, hidden in PARTS
    ]
    return {"marks": marks, "status": "graded", "note": ""}


PARTS = [
    ("q1", "test_a_fair_coin", 1, False),
    ("q1", "test_random_coins", 2, True),
    ("q2", "test_it_is_a_number", 1, False),
    ("q2", "test_its_value", 1, True),
]
