"""What of a cell's printed output is worth keeping: all but progress bars, warnings, and what no page can show."""

from __future__ import annotations

import re
from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"

# What a bar leaves behind: `Epoch 3: 40%|####6     | 4/10 [00:03<00:05, 1.2it/s]`, or, where there is no total,
# `12it [00:03, 4.1it/s]`.
BAR = re.compile(r"\d+%\|.*\|\s*[\d.,kMG]+/[\d.,kMG?]+\s*\[[\d:?]+<|^.*\d+(it|batch|step|B|ex)\S* \[\d\d:\d\d")


def clean_text(text: str) -> str:
    """Return printed text as a terminal would show it in the end, without progress bars."""
    while True:  # a backspace takes back the character before it
        shorter = re.sub(r"[^\n\b]\x08", "", text)
        if shorter == text:
            break
        text = shorter
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.replace("\x08", "").split("\n")]
    return "\n".join(line for line in lines if not BAR.search(line))


def clean_outputs(outputs: list[Any]) -> list[dict[str, Any]]:
    """Return a cell's outputs as they are stored: one block of printed text first in line, no stderr, no widgets.

    Args:
        outputs: in the format of Jupyter notebooks, version 4.

    Returns:
        New dictionaries; the ones given are left alone.
    """
    cleaned: list[dict[str, Any]] = []
    printed: dict[str, Any] | None = None
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            if output["name"] == "stderr":
                continue
            if printed is None:
                printed = {"output_type": "stream", "name": "stdout", "text": ""}
                cleaned.append(printed)
            printed["text"] += output["text"]
        elif kind in ("display_data", "execute_result"):
            if WIDGET not in output["data"]:
                cleaned.append({**output, "metadata": dict(output.get("metadata", {}))})
        elif kind == "error":  # the paths in a traceback are those of one machine
            name, value = output["ename"], output["evalue"]
            cleaned.append({"output_type": "error", "ename": name, "evalue": value, "traceback": [f"{name}: {value}"]})
    if printed is not None:
        printed["text"] = clean_text(printed["text"])
        if not printed["text"].strip():
            cleaned.remove(printed)
    return cleaned
