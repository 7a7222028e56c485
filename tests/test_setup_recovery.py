"""The set-up behind `make` heals: whatever was killed, removed by half or has gone bad, the next run ends with an
environment that is whole, and nothing is ever installed anywhere else.

Stand-ins for `python -m venv` and for pip make this quick: they do what those do, on five empty packages.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from tests.small_project import assert_one_sentence, base_python, clean_environment, project, setup

__all__ = ["project"]

PACKAGES = ["hatchling", "packaging", "pathspec", "pluggy", "trove_classifiers"]
FAKE_VENV = """
import os, pathlib, sys, time, venv
folder, pause = pathlib.Path(sys.argv[1]), float(os.environ.get("PAUSE", 0))
time.sleep(pause)
venv.EnvBuilder(symlinks=True).create(folder)
time.sleep(pause)
pip = folder / "lib" / f"python3.{sys.version_info[1]}" / "site-packages" / "pip"
pip.mkdir()
(pip / "__main__.py").write_text((pathlib.Path(__file__).parent / "fake_pip.py").read_text())
"""
FAKE_PIP = """
import json, os, pathlib, subprocess, sys, sysconfig, time
arguments, site = sys.argv[1:], pathlib.Path(sysconfig.get_path("purelib"))
seen = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "PYTHON"))}
with open("pip.log", "a") as log:
    print(json.dumps([arguments, sys.prefix, seen]), file=log)
if "config" in arguments and "PIP_CONFIG_FILE" in os.environ:
    raise SystemExit(subprocess.call([sys._base_executable, "-m", "pip", "config", "list"]))
if "-r" in arguments:
    for line in pathlib.Path("requirements.lock").read_text().splitlines():
        package = site / line.split("==")[0].replace("-", "_")
        package.mkdir(exist_ok=True)
        time.sleep(float(os.environ.get("PAUSE", 0)))
        (package / "__init__.py").touch()
    tool = site.parents[2] / "bin" / "jupyter-book"
    tool.write_text("import sys; print(sys.argv[1:])")
if "-e" in arguments:
    (site / "_lvmlib.pth").write_text(os.getcwd())
"""


@pytest.fixture
def quick(project):
    install = project / ".ci" / "install.py"
    real, fake = '[python, "-I", "-m", "venv", VENV]', '[python, "-I", ROOT / "fake_venv.py", VENV]'
    assert real in install.read_text()
    install.write_text(install.read_text().replace(real, fake))
    (project / "fake_venv.py").write_text(FAKE_VENV)
    (project / "fake_pip.py").write_text(FAKE_PIP)
    for folder in ("book", "tests", "notebooks"):  # make clean looks into them
        (project / folder).mkdir()
    return project


def run(project, **environment):
    # Should the set-up ever mistake the base Python for its own, the real pip refuses.
    return setup(project, **{"PYTHON": base_python(), "PIP_REQUIRE_VIRTUALENV": "1", "PIP_NO_INDEX": "1"} | environment)


def make(project, target, **environment):
    return run(project, command=["make", target], **environment)


def calls(project):
    return [json.loads(line) for line in (project / "pip.log").read_text().splitlines()]


def assert_whole(project):
    """All is there, the environment's Python uses it, and pip never ran anywhere else."""
    code = (
        f"import lvmlib, {', '.join(PACKAGES)}, sys; print(sys.prefix, *[p.__file__ for p in ({', '.join(PACKAGES)})])"
    )
    python = project / ".venv" / "bin" / "python"
    said = subprocess.run([python, "-I", "-c", code], text=True, capture_output=True, check=True).stdout
    assert said.count(str(project / ".venv")) == 6
    assert {prefix for _, prefix, _ in calls(project)} == {str(project / ".venv")}
    assert list(project.glob(".venv-old-*")) == []
    before = len(calls(project))
    again = run(project)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(calls(project)) == before


def site(project):
    return next((project / ".venv" / "lib").glob("python3*")) / "site-packages"


def replace_python(project, content):
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text(content)
    python.chmod(0o755)


HARM = {
    "removal was interrupted": (lambda p: (p / ".venv" / "pyvenv.cfg").unlink(), "no longer belongs to it"),
    "no Python": (lambda p: shutil.rmtree(p / ".venv" / "bin"), "does not run"),
    "its Python was removed": (
        lambda p: [link.unlink() or link.symlink_to("/nowhere/python") for link in (p / ".venv" / "bin").glob("py*")],
        "does not run",
    ),
    "its Python cannot start": (lambda p: replace_python(p, "#!/bin/sh\nexit 127\n"), "does not run"),
    "its Python was upgraded": (
        lambda p: site(p).parent.rename(site(p).parent.with_name("python3.1")),
        "is missing in it",
    ),
    "a package gone": (lambda p: shutil.rmtree(site(p) / "packaging"), "packaging is missing in it"),
    "lvmlib gone": (lambda p: (site(p) / "_lvmlib.pth").unlink(), "_lvmlib.pth is missing in it"),
    "all packages gone": (lambda p: shutil.rmtree(p / ".venv" / "lib"), "is missing in it"),
    "never finished": (lambda p: (p / ".venv" / "installed").unlink(), "was not finished"),
    "damaged list": (lambda p: (p / ".venv" / "installed").write_bytes(b"\xff"), "was not finished"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_has_gone_bad_is_made_anew(harm, quick):
    first = run(quick)
    assert first.returncode == 0, first.stderr
    change, reason = HARM[harm]
    change(quick)
    healed = run(quick)
    assert healed.returncode == 0, healed.stderr
    assert "made anew" in healed.stdout and reason in healed.stdout
    assert_whole(quick)


def test_without_its_name_the_python_in_use_heals_itself(quick):
    assert run(quick).returncode == 0
    (quick / ".venv" / "pyvenv.cfg").unlink()
    healed = run(quick, PYTHON="")
    assert healed.returncode == 0, healed.stderr
    assert_whole(quick)


@pytest.mark.parametrize("seed", range(4))
def test_removed_by_hand_and_interrupted(seed, quick):
    assert run(quick).returncode == 0
    entries = [*(quick / ".venv").iterdir(), *site(quick).iterdir(), quick / ".venv" / "bin" / "python"]
    chance = random.Random(seed)
    for entry in chance.sample(sorted(entries), chance.randrange(1, len(entries))):
        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    healed = run(quick)
    assert healed.returncode == 0, healed.stderr
    assert_whole(quick)


@pytest.mark.parametrize("when", range(8))
def test_killed_at_any_moment_the_next_run_heals(when, quick):
    began = time.monotonic()
    assert run(quick, PAUSE="0.02").returncode == 0
    takes = time.monotonic() - began
    # Half of the kills fall into the first set-up, half into one that replaces an environment that was harmed.
    (quick / ".venv" / "pyvenv.cfg").unlink() if when % 2 else shutil.rmtree(quick / ".venv")
    process = subprocess.Popen(
        ["/bin/sh", ".ci/setup"],
        cwd=quick,
        env=clean_environment(PATH=os.defpath, PYTHON=base_python(), PAUSE="0.02", PIP_REQUIRE_VIRTUALENV="1"),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    time.sleep(takes * (when + random.random()) / 8)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    healed = run(quick)
    assert healed.returncode == 0, healed.stderr
    assert_whole(quick)


def test_killed_while_it_updates(quick):
    assert run(quick).returncode == 0
    with (quick / "requirements.lock").open("a") as pins:
        pins.write("another==1.0\n")
    (quick / "fake_pip.py").write_text("import os; os.kill(os.getppid(), 9)\n")
    shutil.copy(quick / "fake_pip.py", site(quick) / "pip" / "__main__.py")
    assert run(quick).returncode != 0
    (quick / "fake_pip.py").write_text(FAKE_PIP)
    assert "its installation was not finished" in run(quick).stdout
    assert_whole(quick)


def test_update_in_place_keeps_what_a_reader_added(quick):
    assert run(quick).returncode == 0
    (site(quick) / "jupyterlab").mkdir()
    shutil.rmtree(site(quick) / "pip" / "__pycache__", ignore_errors=True)
    with (quick / "requirements.lock").open("a") as pins:
        pins.write("another==1.0\n")
    updated = run(quick)
    assert "Making .venv" not in updated.stdout and "Ready" in updated.stdout
    assert (site(quick) / "jupyterlab").exists() and (site(quick) / "another").exists()
    assert_whole(quick)


def test_distclean_that_is_interrupted(quick, tmp_path):
    assert make(quick, "setup").returncode == 0
    (tmp_path / "rm").write_text('#!/bin/sh\ncase "$*" in *.venv*) kill -9 $PPID ;; esac\n')
    (tmp_path / "rm").chmod(0o755)
    stopped = make(quick, "distclean", path=f"{tmp_path}:{os.defpath}")
    assert stopped.returncode != 0
    assert not (quick / ".venv").exists() and list(quick.glob(".venv-old-*"))
    assert make(quick, "setup").returncode == 0
    assert_whole(quick)
    assert make(quick, "distclean").returncode == 0
    assert list(quick.glob(".venv*")) == []
    assert make(quick, "distclean").returncode == 0


@pytest.mark.parametrize("by", ["setup", "distclean"])
def test_an_environment_that_is_a_link_loses_the_link_alone(by, quick, tmp_path):
    assert run(quick).returncode == 0
    theirs = (quick / ".venv").rename(tmp_path / "theirs")
    (theirs / "installed").unlink()
    (quick / ".venv").symlink_to(theirs)
    before = sorted(theirs.rglob("*"))
    assert make(quick, by).returncode == 0
    assert sorted(theirs.rglob("*")) == before
    assert not (quick / ".venv").is_symlink()
    assert (quick / ".venv").exists() == (by == "setup")


def test_settings_that_send_packages_elsewhere_are_not_heard(quick, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    wrong = {f"PIP_{name}": str(elsewhere) for name in ("PYTHON", "TARGET", "PREFIX", "ROOT", "SRC", "REPORT")}
    wrong |= {"PIP_DRY_RUN": "1", "PIP_USER": "1", "PIP_IGNORE_INSTALLED": "1", "PIP_NO_DEPS": "1"}
    done = make(quick, "setup", PYTHONPATH=str(tmp_path), PYTHONUSERBASE=str(elsewhere), PIP_TIMEOUT="7", **wrong)
    assert done.returncode == 0, done.stderr
    assert_whole(quick)
    ours = {"PIP_USER": "0", "PIP_DRY_RUN": "0", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_PROGRESS_BAR": "off"}
    heard = ours | {"PIP_TIMEOUT": "7", "PIP_NO_INDEX": "1"}
    for _, _, seen in calls(quick):
        assert {k: v for k, v in seen.items() if k in heard or k in wrong or k.startswith("PYTHON")} == heard
    assert not elsewhere.exists()


def test_a_python_of_another_home(quick):
    done = make(quick, "setup", PYTHONHOME="/nowhere")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", ["[install]\ntarget = /elsewhere", "[global]\nprefix = /elsewhere"])
def test_pip_configured_to_install_elsewhere_is_refused(line, quick, tmp_path):
    (tmp_path / "pip.conf").write_text(line + "\n")
    done = run(quick, PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert_one_sentence(done, "pip's settings say", "/elsewhere")
    assert not any("-r" in arguments for arguments, _, _ in calls(quick))


def test_ready_is_not_said_of_what_cannot_be_imported(quick):
    (quick / "lvmlib" / "__init__.py").write_text("import a_thing_that_is_not_there")
    done = run(quick)
    assert_one_sentence(done, "lvmlib cannot be imported: ModuleNotFoundError", "a_thing_that_is_not_there")
    assert "Ready" not in done.stdout


@pytest.mark.parametrize("name", ["$HOME it's", 'a "b" 100%', "back\\slash #1", "Größe [x]*&;`id`"])
def test_any_path(name, quick):
    place = quick.rename(quick.with_name(name))
    done = make(place, "book")
    assert done.returncode == 0, done.stderr
    assert "['build', '.', '-n', '-W', '--keep-going']" in done.stdout
    assert f"open file://{place}/_build/html/index.html" in done.stdout
    assert_whole(place)


@pytest.mark.parametrize("name", ["two\nlines", "a:b"])
def test_paths_in_which_no_environment_can_live(name, quick):
    done = make(quick.rename(quick.with_name(name)), "setup")
    assert_one_sentence(done, "no environment can be made in", repr(name)[1:-1])


def test_python_in_a_folder_with_a_blank(quick, tmp_path):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "python").symlink_to(base_python())
    assert run(quick, PYTHON=str(tmp_path / "a b" / "python")).returncode == 0


def test_scripts_that_lost_their_permission_to_run(quick):
    for script in (quick / ".ci").iterdir():
        script.chmod(0o644)
    done = make(quick, "setup")
    assert done.returncode == 0, done.stderr


def test_line_ends_of_windows(quick):
    for file in (quick / "Makefile", *(quick / ".ci").iterdir()):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert_one_sentence(make(quick, "setup"), "end as on Windows")
