"""The set-up behind `make`: what it says when something is missing, and that it recovers and rests.

The scripts run as they are, in a copy of the few files that they need. How an environment that is harmed is found out
stands in test_setup_recovery.py.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import signal
import subprocess
import time
import zipfile

import pytest

from tests.small_project import ROOT, assert_one_sentence, base_python, lock, project, setup

__all__ = ["project"]
INSTALL = runpy.run_path(str(ROOT / ".ci" / "install.py"), run_name="install")


@pytest.fixture
def bare(tmp_path):
    """A PATH with a shell and nothing else; tests put their own Pythons there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "dirname"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def fake_python(path, version, modules="ensurepip, venv"):
    """A Python that can only say how old it is and which modules it has."""
    too_old = tuple(map(int, version.split("."))) < (3, 11)
    path.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        '    "import sys") exit 0 ;;\n'
        f"    *version_info\\ *) exit {int(too_old)} ;;\n"
        f"    *print*) echo Python {version} ;;\n"
        f'    "import {modules}") exit 0 ;;\n'
        "esac\n"
        "exit 1\n"
    )
    path.chmod(0o755)


# What is missing is said in one sentence.


def test_no_python(project, bare):
    assert_one_sentence(setup(project, bare), "no Python was found", "3.11 or newer")


def test_python_too_old(project, bare):
    fake_python(bare / "python3", "3.10.13")
    assert_one_sentence(setup(project, bare), "needs Python 3.11 or newer", "python3, which is Python 3.10.13")


def test_named_python_too_old(project, bare, tmp_path):
    fake_python(tmp_path / "old", "2.7.18")
    done = setup(project, bare, PYTHON=str(tmp_path / "old"))
    assert_one_sentence(done, "needs Python 3.11 or newer", f"{tmp_path / 'old'}, which is Python 2.7.18")


def test_named_python_does_not_exist(project, bare):
    assert_one_sentence(setup(project, bare, PYTHON="/nowhere/python"), "/nowhere/python is no Python that can be run")


def test_python_without_venv(project, bare):
    fake_python(bare / "python3", "3.12.1", modules="something_else")
    assert_one_sentence(setup(project, bare), "python3 cannot make virtual environments", "python3-venv")


def test_a_newer_python_beside_an_old_one_is_found(project, bare):
    fake_python(bare / "python3", "3.9.2")
    (bare / "python3.12").write_text('#!/bin/sh\ncase "$2" in import*) exit 0 ;; esac\necho "$1"\n')
    (bare / "python3.12").chmod(0o755)
    done = setup(project, bare)
    assert done.stdout.strip().endswith(".ci/install.py")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded", "the disk is full"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'", "not be reached"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "not be reached"),
        ("ERROR: [Errno 13] Permission denied: '/x/.venv'", "no permission"),
        ("ERROR: No matching distribution found for torch==2.13.0", "has no torch==2.13.0 for Python"),
    ],
)
def test_what_pip_says_in_one_sentence(output, sentence):
    said = INSTALL["explain"](output)
    assert sentence in said
    assert "\n" not in said


def test_what_pip_says_otherwise_is_shown():
    assert "a wheel that is odd" in INSTALL["explain"]("ERROR: a wheel that is odd")


def test_unknown_torch_variant(project):
    assert_one_sentence(setup(project, PYTHON=base_python(), TORCH="gpu"), "TORCH=gpu is not known")


def test_too_little_space(project):
    install = project / ".ci" / "install.py"
    install.write_text(install.read_text().replace("SPACE = 100_000_000", "SPACE = 1e18"))
    assert_one_sentence(setup(project, PYTHON=base_python()), "the disk is nearly full", "GB left")
    assert not (project / ".venv").exists()


# The rest needs the network, or minutes.


@pytest.mark.slow
def test_no_network(project):
    done = setup(project, PYTHON=base_python(), PIP_CONFIG_FILE="/dev/null", PIP_NO_CACHE_DIR="1", PIP_FIND_LINKS="",
                 PIP_EXTRA_INDEX_URL="", PIP_INDEX_URL="http://127.0.0.1:9/simple")  # fmt: skip
    assert_one_sentence(done, "the package index could not be reached")
    assert "trying again" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [8, 36])
def test_full_disk(project, tmp_path, megabytes):
    """A disk of 8 MB is full while the environment is made, one of 36 MB while pip writes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system here")
    install = project / ".ci" / "install.py"
    install.write_text(install.read_text().replace("SPACE = 100_000_000", "SPACE = 0"))
    (project / "requirements.lock").write_text(re.search(r"(?m)^scipy==.*$", lock())[0])
    steps = f"mount -t tmpfs -o size={megabytes}m tmpfs {disk} && cp -r {project}/. {disk} && cd {disk} && .ci/setup"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", steps],
        env={**os.environ, "PYTHON": base_python()},
        text=True,
        capture_output=True,
    )
    assert_one_sentence(done, "the disk is full")
    assert ("Installing" in done.stdout) == (megabytes == 36)


@pytest.mark.slow
def test_a_second_run_installs_nothing(project):
    first = setup(project, PYTHON=base_python())
    assert first.returncode == 0, first.stderr
    assert "Ready after" in first.stdout
    done = project / ".venv" / "installed"
    stamp = done.stat().st_mtime_ns
    second = setup(project)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert done.stat().st_mtime_ns == stamp

    # New pins are installed, and an environment whose folder was moved is made afresh.
    with (project / "requirements.lock").open("a") as pins:
        pins.write("iniconfig==2.3.0\n")
    assert "Installing 6 pinned packages" in setup(project).stdout
    moved = project.rename(project.with_name("moved"))
    again = setup(moved)
    assert "Making .venv" in again.stdout
    assert again.returncode == 0, again.stderr
    command = [moved / ".venv" / "bin" / "python", "-I", "-c", "import lvmlib; print(lvmlib.__file__)"]
    imported = subprocess.run(command, cwd="/", text=True, capture_output=True)
    assert imported.stdout.strip() == str(moved / "lvmlib" / "__init__.py")


@pytest.mark.slow
def test_torch_from_the_cpu_index(project, tmp_path):
    """An index of one wheel, which does nothing, stands in for PyTorch's."""
    pin = re.search(r"(?m)^torch==(.*)$", lock())
    version = f"{pin[1]}+cpu"
    folder = tmp_path / "index" / "torch"
    folder.mkdir(parents=True)
    info = f"torch-{version}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("torch.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="torch-{version}-py3-none-any.whl">torch</a>')
    install = project / ".ci" / "install.py"
    index = f'TORCH_CPU = "{folder.parent.as_uri()}"'
    install.write_text(re.sub(r"(?m)^TORCH_CPU = .*$", index, install.read_text()))
    with (project / "requirements.lock").open("a") as pins:
        pins.write(f"{pin[0]}\n")

    done = setup(project, PYTHON=base_python(), TORCH="cpu", PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert done.returncode == 0, done.stderr
    command = "from importlib.metadata import version; print(version('torch'))"
    python = project / ".venv" / "bin" / "python"
    assert subprocess.run([python, "-c", command], text=True, capture_output=True).stdout.strip() == version


@pytest.mark.slow
def test_a_killed_set_up_is_recovered(project):
    process = subprocess.Popen(
        ["/bin/sh", ".ci/setup"],
        cwd=project,
        env={**os.environ, "PYTHON": base_python()},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list((project / ".venv").glob("lib/python3*/site-packages/*.dist-info/METADATA")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # What a kill can leave: a package that pip believes in and that is empty.
    site = next((project / ".venv" / "lib").glob("python3*")) / "site-packages"
    version = re.search(r"(?m)^hatchling==(.*)$", lock())[1]
    half = site / f"hatchling-{version}.dist-info"
    half.mkdir(exist_ok=True)
    (half / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hatchling\nVersion: {version}\n")

    recovered = setup(project)
    assert recovered.returncode == 0, recovered.stderr
    assert "Making .venv" in recovered.stdout
    assert (site / "hatchling" / "build.py").exists()
    assert setup(project).stdout == ""


@pytest.mark.slow
def test_two_at_once_take_turns(project):
    command, environment = ["/bin/sh", ".ci/setup"], {**os.environ, "PYTHON": base_python()}
    both = [
        subprocess.Popen(command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE) for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("Ready after" in text for text in said) == 1
