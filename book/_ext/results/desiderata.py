"""What each family of models owes and pays."""

from __future__ import annotations

from book._ext.results.text import Chapter, Record, markdown, minutes, number


def desiderata(records: dict[str, Record], benchmarks: dict[str, Record], published: Record, chapter: Chapter) -> str:
    """One family a row; what is not measured yet names the chapter that will measure it."""

    def measured(topic: str, family: Record) -> Record | None:
        rows = benchmarks.get(topic, {"rows": []})["rows"]
        return next((row for row in rows if row["model"] == family.get("model")), None)

    def cell(family: Record, key: str, value: str | None) -> str:
        if value is not None:
            return value
        later = family.get("later", {})
        number = later.get(key, later.get("all"))
        return "–" if number is None else chapter(number)

    rows = []
    for family in published["families"]:
        record = records.get(family.get("checkpoint"), {})
        draw, judged, code = (measured(topic, family) for topic in ("sampling", "quality", "compression"))
        files = records.get("bits_on_disk", {}).get("runs", {}).get(family.get("checkpoint"))
        code = code or (files and files[0])  # by bits-back coding
        nats, train = record.get("test_nll_nats"), record.get("train_nll_nats")
        latents = family["latents"]
        if latents == "active_latents":
            latents = f"{record['active_latents']} active" if "active_latents" in record else None
        cost = f"{minutes(record)} min, {record['parameters']:,} parameters" if record else None
        speed = f"{number(draw['seconds']['cached'])} s for {draw['n']}" if draw else None
        coding = f"{number(code['bits'], 4)} bits, {number(code['encode_ms'])} ms" if code else None
        rows.append(
            [
                family["family"],
                f"{family['likelihood']}; " + cell(family, "likelihood", None if nats is None else f"{nats:.2f} nats"),
                cell(family, "gap", None if None in (nats, train) else f"{nats - train:.2f} nats".replace("-", "−")),
                cell(family, "quality", judged and "{recall_samples:.0%} and {recall_test:.0%}".format(**judged)),
                cell(family, "speed", speed),
                cell(family, "compression", coding),
                cell(family, "latents", latents),
                cell(family, "cost", cost),
            ]
        )
    head = ["Family", "Likelihood", "Generalisation gap", "Sample quality", "Sampling", "Compression of an image"]
    return markdown([*head, "Latents", "Training"], rows)
