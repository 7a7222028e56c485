"""What a training run is on disk: a checkpoint to continue from, the history beside it, and a lock.

A run with ``checkpoint="run.pt"`` has three files. ``run.pt`` holds what is needed to continue and is replaced whole.
``run.pt.history.csv`` holds the losses, one line a step; it only grows, so that a checkpoint costs the same after a
million steps as after ten. ``.run.pt.lock`` keeps a second run away while the first one writes; it may stay there.
"""

from __future__ import annotations

import glob
import io
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from lvmlib.runs.settings import differences
from lvmlib.runs.state import History, Run, shapes

_STATE: dict[str, Any] = {  # what a checkpoint holds, and of which kind
    "settings": dict,
    "step": int,
    "stopped_early": bool,
    "history": dict,
    "model": dict,
    "optimizer": dict,
    "averaged": (dict, type(None)),
    "best": (dict, type(None)),
    "generators": dict,
}


@contextmanager
def kept(
    run: Run,
    checkpoint: str | os.PathLike[str] | None,
    resume: bool,
    steps: int,
    settings: Callable[[], dict[str, Any]],
) -> Iterator[Callable[[], None]]:
    """A run that goes on from its checkpoint, if there is one, and what saves it; nothing of both without a path.

    Args:
        run: newly made; brought to where the checkpoint left it.
        checkpoint: path, or None.
        resume: whether a checkpoint that is there may be continued.
        steps: number of steps that are asked for in all.
        settings: returns what must be the same, see `lvmlib.runs.settings`.

    Raises:
        ValueError: the checkpoint is damaged, of another run, or has more steps behind it.
        OSError: see `RunFiles`.
    """
    if checkpoint is None:
        yield lambda: None
        return
    with RunFiles(checkpoint, resume) as files:
        same = settings()
        files.load(run, same, steps)
        if not run.over(steps):  # a run that is over may lie where nothing can be written
            files.check_writable()
            files.try_size(run)
        yield lambda: files.save(run, same)


class RunFiles:
    """The files of a run. As a context manager it holds the lock.

    Args:
        checkpoint: path of the checkpoint; ``~`` is expanded, and of a link the file that it points to is meant.
        resume: whether a checkpoint that is there may be continued.

    Raises:
        FileExistsError: there is a checkpoint, and `resume` is False.
        OSError: nothing can be written there, or another run holds the lock.
    """

    def __init__(self, checkpoint: str | os.PathLike[str], resume: bool):
        self.path = Path(os.path.realpath(os.path.expanduser(checkpoint)))
        self.resume = resume
        self.history = self._beside("{}.history.csv")
        self.partial = self._beside(f".{{}}.{secrets.token_hex(4)}.partial")
        self.lock = FileLock(self._beside(".{}.lock"))
        self.written = {"steps": 0, "bytes": 0, "crc32": 0}  # of the history
        self.unwritable: OSError | None = None

    def __enter__(self) -> RunFiles:
        """Find out now, not after an hour of training, that no checkpoint can be written."""
        if self.path.is_dir():
            raise IsADirectoryError(f"{self.path} is a folder: name a file in it, such as {self.path / 'run.pt'}.")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.lock.acquire(timeout=0)
            for abandoned in self.path.parent.glob(glob.escape(f".{self.path.name}.") + "*.partial"):
                abandoned.unlink()  # by a run that was killed while it wrote; we hold the lock
            self.partial.touch()
            self.partial.unlink()
        except Timeout:
            raise BlockingIOError(
                f"Another run is writing {self.path}. Wait for it, or give each run a checkpoint of its own."
            ) from None
        except OSError as error:
            self.unwritable = error
        try:
            if self.path.exists() and not self.resume:
                raise FileExistsError(
                    f"{self.path} exists. Pass resume=True to continue that run, or move the file away."
                )
            if not self.path.exists():
                self.check_writable()
        except OSError:
            self.lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def check_writable(self) -> None:
        """Raise the `OSError` that `__enter__` met, if any."""
        if self.unwritable is not None:
            error = self.unwritable
            raise OSError(error.errno, f"{error.strerror}: no checkpoint can be written to {self.path}") from error

    def try_size(self, run: Run) -> None:
        """Write as much as a save will, and remove it: that the disk is full should not be news after an hour.

        Raises:
            OSError: there is no room.
        """
        weights = sum(t.numel() * t.element_size() for t in run.model.state_dict().values())
        copies = 3 + (run.average is not None) + (run.patience is not None)  # Adam keeps two numbers for each weight
        try:
            with open(self.partial, "wb") as file:
                for _ in range(copies):
                    file.write(bytes(weights))
                _write(file, b"")
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: no checkpoint can be written to {self.path}") from error
        finally:
            self.partial.unlink(missing_ok=True)

    def save(self, run: Run, settings: dict[str, Any]) -> None:
        """Add to the history, then replace the checkpoint.

        Raises:
            OSError: the message names the step; what was there before is whole.
        """
        state, lines = run.state(), run.history.lines(self.written["steps"])
        written = {
            "steps": run.step,
            "bytes": self.written["bytes"] + len(lines),
            "crc32": zlib.crc32(lines, self.written["crc32"]),
        }
        buffer = io.BytesIO()  # torch.save into a file on a full disk dies of "unexpected pos", not of the disk
        torch.save({"settings": settings, "history": written, **state}, buffer)
        try:
            with open(self.history, "r+b" if self.written["bytes"] else "wb") as file:
                file.seek(self.written["bytes"])
                file.truncate()  # what a run wrote that was killed before its checkpoint
                _write(file, lines)
            # Written beside the target and renamed: whoever kills us finds the old file or the new one, never half.
            with open(self.partial, "wb") as file:
                _write(file, buffer.getbuffer())
            os.replace(self.partial, self.path)
        except BaseException as error:
            self.partial.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            what = f"{self.path} cannot be written at step {run.step}; what was there before is whole"
            raise OSError(error.errno, f"{error.strerror}: {what}") from error
        self.written = written

    def load(self, run: Run, settings: dict[str, Any], steps: int) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ValueError: it is damaged, or belongs to another run or another architecture. Nothing was changed.
        """
        if not self.path.exists():
            return
        state = self._read()
        if shapes(state["model"]) != shapes(run.model.state_dict()):
            _check_compiled(state["model"], run.model.state_dict(), self.path)
            raise ValueError(
                f"{self.path} holds the weights of another architecture than this {type(run.model).__name__}. "
                "Build the model as it was, or use another file."
            )
        differ = differences(state["settings"], settings)
        if differ:
            raise ValueError(f"{self.path} belongs to another run: {differ}. Use those values, or another file.")
        if state["step"] > steps:
            raise ValueError(f"{self.path} has {state['step']} steps behind it, more than the {steps} asked for.")
        try:
            _require(run.fits(state), "averaged or best weights of other shapes")
            history = self._read_history(state)
            run.load(state, history)
        except Exception as error:
            raise self._damaged(error) from error
        self.written = state["history"]

    def _read(self) -> dict[str, Any]:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            earlier = "identity" in state and "rng" in state
            wrong = [key for key, kind in _STATE.items() if not isinstance(state.get(key), kind)]
        except Exception as error:
            raise self._damaged(error) from error
        if earlier:
            raise ValueError(
                f"{self.path} was written by an earlier version of lvmlib, which kept the history inside. "
                "Finish that run with that version, or move the file away to start anew."
            )
        if wrong:
            raise self._damaged(f"{', '.join(wrong)} missing or of another kind")
        return state

    def _read_history(self, state: dict[str, Any]) -> History:
        size, crc = state["history"]["bytes"], state["history"]["crc32"]
        with open(self.history, "rb") as file:
            text = file.read(size)
        whole = zlib.crc32(text) == crc and len(text) == size
        _require(whole, f"{self.history.name} is not the history of this run")
        history = History.parse(text.decode())
        history.stopped_early = state["stopped_early"]
        _require(len(history.loss) == state["step"] == state["history"]["steps"], "the steps do not add up")
        return history

    def _damaged(self, error: Any) -> ValueError:
        return ValueError(
            f"{self.path} is not a checkpoint of fit, or is damaged: {error}. Move it away to start anew."
        )

    def _beside(self, pattern: str) -> Path:
        return self.path.with_name(pattern.format(self.path.name))


def remove_run(checkpoint: str | os.PathLike[str]) -> None:
    """Delete the files of a run that is over and no longer wanted: its checkpoint, history and lock.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lvmlib.runs import remove_run
        >>> path = Path(tempfile.mkdtemp()) / "run.pt"
        >>> path.touch()
        >>> remove_run(path)
        >>> list(path.parent.iterdir())
        []
    """
    with RunFiles(checkpoint, resume=True) as files:
        for path in (files.path, files.history, Path(files.lock.lock_file)):
            path.unlink(missing_ok=True)


def _write(file: Any, content: Any) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _check_compiled(stored: dict[str, Any], own: dict[str, Any], path: Path) -> None:
    """Raise `ValueError` where torch.compile alone makes two architectures of one."""
    plain = [{name.replace("_orig_mod.", ""): shape for name, shape in shapes(w).items()} for w in (stored, own)]
    if plain[0] == plain[1]:
        was = "compiled" if any("_orig_mod." in name for name in stored) else "not compiled"
        raise ValueError(
            f"{path} holds the weights of a model that was {was} by torch.compile, this one differs there."
        )


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
