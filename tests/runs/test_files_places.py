"""Where the files of a run lie: full disks, locks, links and folders that cannot be written."""

import os
from pathlib import Path

import pytest
import torch

from lvmlib.runs import files
from lvmlib.runs.files import RunFiles, remove_run
from lvmlib.training import fit
from tests.line import line, line_data, squared_error
from tests.runs.small_runs import FILES, names


def test_a_place_where_no_checkpoint_can_be_written_is_noticed_before_training(tmp_path):
    def never(m, batch):
        raise AssertionError("training began")

    (tmp_path / "file").write_text("")
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "file" / "run.pt", "no checkpoint can be written to")):
        with pytest.raises(OSError, match=message):
            fit(line(), line_data(), never, steps=1, batch_size=5, checkpoint=path, progress=False)


def never(model, batch):
    raise AssertionError("no step is to be taken")


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, progress=False)
    before = path.read_bytes()

    room = iter([True])  # for the trial at the start

    def full(descriptor):
        if not next(room, False):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*run\.pt cannot be written at step 9"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert path.read_bytes() == before and names(tmp_path) == FILES
    with pytest.raises(OSError, match=r"No space left on device: no checkpoint can be written to .*run\.pt"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    with pytest.raises(OSError, match="No space left on device: no checkpoint can be written"):
        fit(line(), line_data(), never, steps=9, batch_size=50, checkpoint=tmp_path / "b.pt", progress=False)
    assert path.read_bytes() == before and not (tmp_path / "b.pt").exists()
    (tmp_path / ".b.pt.lock").unlink()
    assert names(tmp_path) == FILES
    monkeypatch.undo()
    whole, rest = line(), line()
    fit(whole, line_data(), squared_error, steps=9, batch_size=50, progress=False)
    fit(rest, line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert torch.equal(whole.weight, rest.weight)


def test_as_much_is_tried_as_a_save_will_write(tmp_path, monkeypatch):
    """Weights and Adam's two numbers for each; the average and the best weights where they are kept."""
    sizes, write = [], files._write
    monkeypatch.setattr(files, "_write", lambda file, data: sizes.append(file.tell()) or write(file, data))
    valid = dict(valid=line_data(10), patience=3)
    for i, (options, copies) in enumerate([({}, 3), ({"average": 0.9}, 4), (valid, 4), ({**valid, "average": 0.9}, 5)]):
        sizes.clear()
        path = tmp_path / "new" / str(i) / "run.pt"
        fit(line(), line_data(), squared_error, steps=1, batch_size=50, checkpoint=path, progress=False, **options)
        assert sizes[0] == copies * 4 * 4 and path.exists()  # four weights of four bytes


def test_the_second_of_two_runs_on_one_path_is_told_so(tmp_path):
    path = tmp_path / "run.pt"
    arguments = dict(steps=3, batch_size=50, checkpoint=path, progress=False)

    def nested(m, batch):
        with pytest.raises(OSError, match=r"Another run is writing .*run\.pt\. Wait for it"):
            fit(line(), line_data(), squared_error, resume=True, **arguments)
        return squared_error(m, batch)

    fit(line(), line_data(), nested, **arguments)
    fit(line(), line_data(), nested, resume=True, **arguments)  # the lock is free again
    assert names(tmp_path) == FILES


def test_the_lock_of_a_run_that_failed_is_free_again(tmp_path):
    path = tmp_path / "run.pt"
    arguments = dict(steps=3, batch_size=50, checkpoint=path, progress=False)
    fit(line(), line_data(), squared_error, **arguments)
    for error in (FileExistsError, FileExistsError):
        with pytest.raises(error):
            fit(line(), line_data(), squared_error, **arguments)
    fit(line(), line_data(), squared_error, **{**arguments, "steps": 4}, resume=True)


def test_home_is_expanded_and_a_link_stays_a_link(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "run.pt").symlink_to(tmp_path / "disk" / "real.pt")
    for checkpoint in ("~/runs/run.pt", "run.pt"):
        for steps in (3, 4):
            fit(line(), line_data(), squared_error, steps=steps, batch_size=50, checkpoint=checkpoint, resume=True,
                progress=False)  # fmt: skip
    assert names(tmp_path / "home" / "runs") == FILES and not (tmp_path / "~").exists()
    assert (tmp_path / "run.pt").is_symlink() and torch.load(tmp_path / "disk" / "real.pt")["step"] == 4
    assert "real.pt.history.csv" in names(tmp_path / "disk")


def test_a_finished_run_is_resumed_where_nothing_can_be_written(tmp_path, monkeypatch):
    path, whole, rest = tmp_path / "run.pt", line(), line()
    arguments = dict(batch_size=50, checkpoint=path, resume=True, progress=False)
    history = fit(whole, line_data(), squared_error, steps=5, **arguments)

    def read_only(self, *_, **__):  # as for anyone but root, for whom the tests may run
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    monkeypatch.setattr(Path, "touch", read_only)
    assert fit(rest, line_data(), squared_error, steps=5, **arguments) == history and torch.equal(
        whole.weight, rest.weight
    )
    with pytest.raises(PermissionError, match=r"Permission denied: no checkpoint can be written to .*run\.pt"):
        fit(line(), line_data(), squared_error, steps=6, **arguments)


def test_remove_run(tmp_path):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=2, batch_size=50, checkpoint=path, progress=False)
    with RunFiles(path, resume=True), pytest.raises(OSError, match="Another run is writing"):
        remove_run(path)
    remove_run(path)
    assert names(tmp_path) == []
