"""What chapters print of earlier runs lies in the library, so that it is there without the repository."""

import json

import pytest

from lvmlib.checkpoints import SHIPPED
from lvmlib.experiments.records import BENCHMARKS, PUBLISHED, benchmark, published, record


def test_records_are_those_beside_the_weights():
    assert record("made_mnist") == json.loads((SHIPPED / "made_mnist.json").read_text("utf-8"))
    assert record("nobody") is None


@pytest.mark.parametrize("topic", sorted(path.stem for path in BENCHMARKS.glob("*.json")))
def test_each_topic_has_rows(topic):
    assert benchmark(topic) and all(isinstance(row, dict) for row in benchmark(topic))


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"'flying'; there are: .*sampling"):
        benchmark("flying")
    with pytest.raises(ValueError, match="one of 'fresh', 'static', got 'grey'"):
        published("grey")


def test_published_figures_are_whole():
    for protocol, group in json.loads(PUBLISHED.read_text("utf-8")).items():
        assert group["about"] and len(published(protocol)) == len(group["rows"]) > 3  # no model twice
    assert published("fresh")["MADE"] == 84.87 and published("static")["PixelRNN, Diagonal BiLSTM"] == 79.2
