"""`lvm homework list`, `assign` and `grade`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="lvm",
    help="Tools for those who teach with the book.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
homework = typer.Typer(
    help="Homework: see what there is, make it for your course, grade what comes back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(homework, name="homework")

Masters = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Your own folder of masters, instead of the repository's.")
]


@app.callback()
def _lvm() -> None:
    """Tools for those who teach with the book."""


@homework.command("list")
def list_homework(masters: Masters = None) -> None:
    """Show the homework there is, one for each chapter: questions, points, and hours for a good student.

    Example:  lvm homework list
    """
    from lvmlib.homework.assign import masters_in
    from lvmlib.homework.master import read_master

    rows = [("", "title", "questions", "points", "hours")]
    for path in masters_in(masters):
        one = read_master(path)
        rows.append((one.number, one.title, str(len(one.questions)), f"{one.points:g}", one.hours))
    width = max(len(title) for _, title, *_ in rows)
    for number, title, *numbers in rows:
        typer.echo(f"{number:2}  {title:{width}}" + "".join(f"  {text:>9}" for text in numbers))


@homework.command()
def assign(
    numbers: Annotated[list[str], typer.Argument(metavar="NUMBER", help="Of chapters, such as 09; or all.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Your course's folder; made if it is not there.")],
    masters: Masters = None,
    site: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="From where Colab takes lvmlib: the address of the book's site, or of the wheel. Without it, students "
            "upload the wheel, which this command leaves in FOLDER.",
        ),
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Of the hidden tests' inputs; by chance when left out.")] = None,
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="lvmlib's wheel; built from the repository when left out.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run the bundle on the solution first; takes a minute.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier run wrote; the seed stays.")] = False,
) -> None:
    """Make the folder of a homework: the notebook for students, the solution, a bundle for Gradescope, a secret seed.

    \b
    Examples:
      lvm homework assign 09 --out course/
      lvm homework assign 01 08 09 --out course/ --site https://example.org/book/
      lvm homework assign all --out course/ --masters ~/my-masters --check
    """
    from lvmlib.homework.assign import assign as make
    from lvmlib.homework.assign import masters_in

    if "all" in numbers:
        numbers = [path.name[:2] for path in masters_in(masters)]
    for number in numbers:
        made = make(number, out, masters=masters, site=site, seed=seed, wheel=wheel, force=force, check=check)
        (notebook,) = (made / "student").glob("*.ipynb")
        typer.echo(f"{made}: give students {notebook}; README.txt says what the rest is.")


@homework.command()
def grade(
    course: Annotated[Path, typer.Argument(metavar="COURSE", help="What assign made, such as course/09.")],
    submissions: Annotated[
        Path,
        typer.Argument(
            metavar="SUBMISSIONS",
            help="A folder or a .zip: files named after students, a folder for each student, or what Canvas, Moodle or "
            "Gradescope export.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table to write, a .csv file.")],
    workers: Annotated[int, typer.Option(min=1, help="Submissions to grade at a time; 2 GB of memory for each.")] = 1,
    table: Annotated[str, typer.Option(metavar="plain|canvas|moodle", help="For whom the table is.")] = "plain",
    feedback: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write one page a student there.")] = None,
    show_hidden: Annotated[
        bool, typer.Option("--show-hidden", help="Tell students of hidden tests in full; gives their inputs away.")
    ] = False,
    deadline: Annotated[str | None, typer.Option(metavar='"2027-01-31 23:59"', help="On this machine's clock.")] = None,
    grace: Annotated[float, typer.Option(metavar="MINUTES", help="Still on time so long after the deadline.")] = 0,
    late_penalty: Annotated[
        float, typer.Option(metavar="PERCENT", help="Of the points reached, for each day begun after the deadline.")
    ] = 0,
    manifest: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A table of who handed in when, with the columns name and submitted."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Of a student; * and ? allowed; may be given repeatedly.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Grade anew what is graded already.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of the hidden tests' inputs; that of COURSE when left out.")] = None,
    sandbox: Annotated[
        str, typer.Option(metavar="auto|docker|bubblewrap", help="Where students' code runs; auto: what there is.")
    ] = "auto",
    no_sandbox: Annotated[
        bool,
        typer.Option("--no-sandbox", help="Run students' code unprotected, as you: it can do all that you can."),
    ] = False,
) -> None:
    """Grade submissions: one row a student in a table, and a page of feedback.

    What is graded is kept beside the table: an interrupted run goes on where it ended, and the next one grades only
    what has changed.

    \b
    Examples:
      lvm homework grade course/09 submissions/ --out grades.csv --workers 4
      lvm homework grade course/09 canvas.zip --out grades.csv --table canvas --feedback pages/
      lvm homework grade course/09 submissions/ --out grades.csv --deadline "2027-01-31 23:59" --late-penalty 10
      lvm homework grade course/09 submissions/ --out grades.csv --only "Jane Doe" --again
    """
    from lvmlib.homework.grading import grade as grade_all
    from lvmlib.homework.table import unknown

    rows = grade_all(
        course,
        submissions,
        out,
        workers=workers,
        seed=seed,
        deadline=deadline,
        late_penalty=late_penalty,
        grace=grace,
        manifest=manifest,
        sandbox="none" if no_sandbox else sandbox,
        feedback=feedback,
        show_hidden=show_hidden,
        only=only or (),
        again=again,
        format=table,
    )
    for status, number in Counter(row.status for row in rows).most_common():
        typer.echo(f"{number:5}  {status}")
    if names := unknown(table, rows):
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        typer.echo(
            f"No number of {table.title()} is known for {len(names)} of {len(rows)} students ({some}): the table has "
            "their names only. Check that these are the ones it has before you import it, or grade its own export.",
            err=True,
        )
    typer.echo(f"{out} has {len(rows)} rows." + (f" Open {feedback}/index.html for the pages." if feedback else ""))


def run(arguments: list[str] | None = None) -> int:
    """Run a command line; say in one sentence on stderr what went wrong, and return 2 then."""
    try:
        app(arguments, prog_name="lvm", standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except (typer.Abort, KeyboardInterrupt):
        print("lvm: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("LVM_TRACEBACK"):
            raise
        print(sentence(error), file=sys.stderr)
        return 2
    return 0


def sentence(error: Exception) -> str:
    """Return what to say of an error; of a command line that asks for nothing, what there is to ask for."""
    said = getattr(error, "format_message", None)  # of what was typed: its class differs between versions of typer
    if type(error).__name__ == "NoArgsIsHelpError" and said:
        return str(said())
    if said:
        return f"lvm: {said()}"
    if isinstance(error, OSError | ValueError | RuntimeError):
        return f"lvm: {' '.join(str(error).split())[:400]}"
    return f"lvm: {type(error).__name__}: {error} (set LVM_TRACEBACK=1 to see where, and tell us)"
