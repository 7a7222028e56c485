"""What of a cell's outputs is worth keeping, and in which form: what is stored is what `clean_outputs` makes of it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from book._tools.figures import FIGURE_MIME

WIDGET = "application/vnd.jupyter.widget-view+json"
SEAL = "picture"  # in the description of a figure: a digest of the picture that it describes

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


def digest(picture: str) -> str:
    """Return a short digest of a picture in base64, whatever its line breaks."""
    return hashlib.sha256("".join(picture.split()).encode()).hexdigest()[:16]


def sealed(output: dict[str, Any]) -> dict[str, Any]:
    """Return a displayed output whose figure's description names the picture that it belongs to.

    A picture that is later exchanged, or edited, without its description no longer fits it.
    """
    metadata = dict(output.get("metadata", {}))
    about = metadata.get(FIGURE_MIME)
    if about is not None and SEAL not in about and "image/png" in output["data"]:
        metadata[FIGURE_MIME] = {**about, SEAL: digest(output["data"]["image/png"])}
    return {**output, "metadata": metadata}


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
                cleaned.append(sealed(output))
        elif kind == "error":  # the paths in a traceback are those of one machine
            name, value = output["ename"], output["evalue"]
            cleaned.append({"output_type": "error", "ename": name, "evalue": value, "traceback": [f"{name}: {value}"]})
    if printed is not None:
        printed["text"] = clean_text(printed["text"])
        if not printed["text"].strip():
            cleaned.remove(printed)
    return cleaned
