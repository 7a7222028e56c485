"""A homework of two questions, small enough to be made, opened and graded in a test."""

from __future__ import annotations

from pathlib import Path

NAME = "02_tiny"
MASTER = '''# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # Homework 2: A tiny one
#
# Two questions. **Time:** 1 hour. **Points:** 5. **Needs:** nothing.

# %%
import numpy as np

# %%
import lvmlib

print(lvmlib.__version__)

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: A sum of squares (3 points)
#
# Write `squares(x)`, which adds up $x_i^2$.

# %% [raw]
# # BEGIN SOLUTION

# %%
def squares(x):
    """Return the sum of the squares of an array, a float."""
    # BEGIN SOLUTION
    sum_of_the_squared_entries = (x * x).sum()
    return float(sum_of_the_squared_entries)
    # END SOLUTION

# %% [markdown]
# The solution in words: square each entry, then add.

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
""" # END TEST CONFIG
def test_two_numbers(squares):
    import numpy as np
    from lvmlib.homework.checking import close, own

    own(squares)
    close(squares(np.array([3.0, 4.0])), 25.0, "9 + 16")

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_random_numbers(squares):
    from lvmlib.homework.checking import close, rng

    x = rng("the name of a hidden stream").normal(size=7)
    close(squares(x), float(x @ x), "it must hold for every array")

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 2

# %% [markdown]
# ## Question 2: A number (2 points)

# %% [raw]
# # BEGIN SOLUTION

# %%
answer_to_all = 6 * 7  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0
""" # END TEST CONFIG
def test_it_is_a_number(answer_to_all):
    from lvmlib.homework.checking import as_array

    assert as_array(answer_to_all, "your answer").shape == (), "one number"

# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
""" # END TEST CONFIG
def test_its_value(answer_to_all):
    assert answer_to_all == 40 + 2, "ask a deeper question"

# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## Further reading
'''


def write_master(folder: Path, text: str = MASTER) -> Path:
    """Write the homework into a folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.py"
    path.write_text(text, "utf-8")
    return path
