"""Test likelihoods of the shipped models beside published ones."""

from __future__ import annotations

from book._ext.results.text import Chapter, Record, grouped, markdown, minutes, number

HEAD = ["Parameters", "Training, min", "Protocol of the test, hardware, source"]


def told_by(record: Record, chapter: str) -> list[str]:
    """Cells that every record fills."""
    machine = f"{record['hardware']}, {record['threads']} thread" + ("s" if record["threads"] > 1 else "")
    source = f"{record['test_protocol']}; {machine}; {chapter}"
    return [f"{record['parameters']:,}", minutes(record), grouped(source)]


def with_error(record: Record, figure: str) -> str:
    """Return a test figure with its standard error over images, where the record has one."""
    return (
        f"{figure}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{record['test_nll_error']:.2f}"
        if "test_nll_error" in record
        else figure
    )


def commands(records: dict[str, Record], names: dict[str, Record]) -> str:
    """The commands that train the models of a table, folded away."""
    lines = [f"- {told['model']}: `{records[name]['command']}`" for name, told in names.items() if name in records]
    return "\n".join(["\n\n```{dropdown} The commands that trained ours", *lines, "```"]) if lines else ""


def ours(records: dict[str, Record], published: Record, chapter: Chapter) -> list[tuple[float, list[str]]]:
    """A line for each record of a model of binary MNIST, with its test NLL to sort by."""
    lines = []
    for name, names in published["binary_mnist"].items():
        if name in records:
            nats = records[name]["test_nll_nats"]
            told = told_by(records[name], chapter(names["chapter"]))
            lines.append((nats, [f"**{names['model']}**", with_error(records[name], f"{nats:.2f}"), *told]))
    return lines


def theirs(published: Record, group: str) -> list[tuple[float, list[str]]]:
    """A line for each published figure of a group."""
    lines = []
    for row in published["published"][group]["rows"]:
        source = f"{row['protocol']}; {{cite:t}}`{row['cite']}`, {row['where']}"
        lines.append((row["nats"], [row["model"], f"{row['nats']:.2f}", "", "", grouped(source)]))
    return lines


def likelihoods(records: dict[str, Record], published: Record, group: str, chapter: Chapter) -> str:
    """The best first; ours in bold."""
    lines = theirs(published, group) + (ours(records, published, chapter) if group == "fresh" else [])
    cells = [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    if group == "fresh":
        table = markdown(["Model", "Test NLL, nats", *HEAD], cells, right=[1, 2, 3])
        return table + commands(records, published["binary_mnist"])
    return markdown(
        ["Model", "Test NLL, nats", "Protocol and source"], [[*row[:2], row[-1]] for row in cells], right=[1]
    )


def others(records: dict[str, Record], published: Record, chapter: Chapter) -> str:
    """The test figures of the models that the other tables leave out."""
    rows = [
        [names["model"], f"{with_error(records[name], number(records[name][names['key']], 4))} {names['unit']}"]
        + told_by(records[name], chapter(names["chapter"]))
        for name, names in published["elsewhere"].items()
        if name in records
    ]
    return markdown(["Model", "Test", *HEAD], rows, right=[1, 2, 3]) + commands(records, published["elsewhere"])


def strangers(records: dict[str, Record], published: Record) -> list[str]:
    """Records of one model with a test figure that results.yml does not place; an ablation has variants instead."""
    known = {*published["binary_mnist"], *published["elsewhere"]}
    models = {name for name, record in records.items() if "test_protocol" in record and "variants" not in record}
    return sorted(models - known)
