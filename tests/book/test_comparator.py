"""How numbers, words, HTML and tolerances are read."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests.book.bitmaps import compare_exactly, compare_pictures
from tests.book.comparator import compare_outputs
from tests.book.drawings import differences
from tests.book.texts import compare_text, literals, same_line, split_numbers, visible_text
from tests.book.tolerance import Tolerance

EXACT = Tolerance()


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("NLL -89.04 nats", ["-89.04"]),
        ("1,234,567 of 70,000", ["1,234,567", "70,000"]),
        ("lr=1e-3, eps=1E-08", ["1e-3", "1E-08"]),
        ("4.00 +- 0.02", ["4.00", "0.02"]),
        ("4.00+-0.02", ["4.00", "-0.02"]),
        ("4.00 ± 0.02", ["4.00", "0.02"]),
        ("12.5%", ["12.5"]),
        ("3-4 and x[0]-1", ["3", "4", "0", "1"]),
        ("float32, z1, v1.2, 28x28", ["28"]),
        ("tensor([ 1., -0.5, nan, -inf])", ["1.", "-0.5", "nan", "-inf"]),
        ("information, nano, inform", []),
        ("range .5 to -.25", [".5", "-.25"]),
        ("7.", ["7."]),
    ],
)
def test_numbers_are_found(line, numbers):
    assert split_numbers(line)[1] == numbers


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("89.04", "89.05"),
        ("-0.00", "0.00"),
        ("99.99", "100.00"),
        ("9.999e-06", "1.000e-05"),
        ("tensor([-0., 1.])", "tensor([0., 1.])"),
        ("0.30000000000000004", "0.3"),
        ("0.12345678306804932", "0.12345679104328156"),
        ("[ 99.51, 100.01]", "[99.51,  100.00]"),
        ("a: [0.  0.5]  12.25", "a: [ 0. 0.5]  12.25"),
        ("nan inf", "NaN Inf"),
        ("at 0x7f01a2b3c4d5>", "at 0x7f99a2b3c4ff>"),
        ("VAE     99.99  b", "VAE    100.00  b"),  # right-aligned
        ("VAE  99.99   b", "VAE  100.00  b"),  # left-aligned
        ("from 99.99 nats", "from 100.00 nats"),  # in a sentence
    ],
)
def test_lines_that_agree(stored, new):
    assert same_line(stored, new, EXACT)
    assert same_line(new, stored, EXACT)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("0.10", "0.11"),
        ("beta 0.5", "beta 0.6"),
        ("9.99", "10.00"),
        ("0.137", "0.138"),
        ("3.21e-05", "3.20e-05"),
        ("a  b", "a b"),
        ("PCA            79.20", "PCA    79.20        "),
        ("PCA    79.20         1.50", "PCA           79.20  1.50"),
        ("0.10", "0.12"),
        ("0.01", "-0.01"),
        ("0.1", "0.15"),
        ("0.12", "0.123"),
        ("1.", "2."),
        ("1e-3", "2e-3"),
        ("3", "3.0"),
        ("15", "16"),
        ("007", "7"),
        ("1,000", "1000"),
        ("inf", "-inf"),
        ("nan", "1.0"),
        ("12.5%", "12.5"),
        ("2.5 nats", "2.5 bits"),
        ("float32", "float64"),
        ("1 2", "12"),
        ("a1b", "a2b"),
        ("3.14159265", "3.14159300"),
        ("3.1415926535897931", "3.1415"),
        ("1-2", "1 -2"),
        ("ab", "a b"),
    ],
)
def test_lines_that_differ(stored, new):
    assert not same_line(stored, new, EXACT)
    assert not same_line(new, stored, EXACT)


def test_numbers_that_were_chosen_do_not_move():
    source = "for beta in (0.5, 1.0):\n    loss = train(beta, lr=1e-3)  # 104.3"
    assert literals(source) == {"0.5", "1.0", "1e-3"}
    assert literals("%matplotlib inline\n'") == set()
    loose = Tolerance.of_cell({"tolerance": {"rtol": 0.2}})
    assert same_line("beta 0.5: -104.3", "beta 0.5: -104.9", loose, literals(source))
    assert not same_line("beta 0.5: -104.3", "beta 0.6: -104.3", loose, literals(source))
    assert not same_line("beta 0.6: -104.3", "beta 0.5: -104.3", loose, literals(source))
    assert same_line("beta 0.5", "beta 0.6", loose, set())


def test_draws_are_rows_or_columns_of_a_grid():
    drawn = Tolerance.of_cell({"tolerance": {"draws": ["rows 2-3", "column 1"]}})
    assert drawn.drawn(4, 3).astype(int).tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 0, 0]]
    assert drawn.by_columns
    assert drawn.data == 1e-3  # what is no draw must be what it was
    assert Tolerance.of_cell({"tolerance": {"draws": ["row 1"], "rtol": 0.2}}).data == 1e-3
    assert Tolerance.of_cell({"tolerance": {"draws": ["row 1"], "data": 0.2}}).data == 0.2
    assert Tolerance.of_cell({"tolerance": {"draws": ["all", "axes 3"]}}).drawn(2, 2).all()
    assert Tolerance.of_cell({"tolerance": {"draws": ["axes 3"]}}).axes == [3]
    assert not Tolerance.of_cell({"tolerance": {"draws": ["axes 3"]}}).drawn(2, 2).any()


def test_declared_tolerance():
    loose = Tolerance.of_cell({"tolerance": {"rtol": 0.05}})
    assert same_line("NLL 100.0", "NLL 104.9", loose)
    assert not same_line("NLL 100.0", "NLL 105.2", loose)
    assert not same_line("100 epochs", "101 epochs", loose)
    assert not same_line("NLL 100.0", "NLL -100.0", loose)
    assert same_line("12", "12.4", loose)  # as {:.3g} prints
    counted = Tolerance.of_cell({"tolerance": {"atol": 2}})
    assert same_line("15 units", "17 units", counted)
    assert not same_line("15 units", "18 units", counted)
    assert (loose.figure, loose.data) == (0.35, 0.05)
    assert Tolerance.of_cell({"tolerance": {"figure": 0.3}}).data == 0.15
    assert Tolerance.of_cell({"tolerance": {"data": 0.1, "figure": 0.3}}).data == 0.1
    assert Tolerance.of_cell({}) == EXACT


def test_trailing_blanks_do_not_count_but_lines_do():
    assert compare_text("a\nb\n", "a\nb", EXACT) == []
    assert compare_text("a\n\nb", "a\nb", EXACT)
    report = compare_text("\n".join(map(str, range(50))), "\n".join(map(str, range(1, 51))), EXACT)
    assert report[-1] == "  ... and 44 more lines"


def test_html_is_read_as_a_reader_sees_it():
    rows = "<tr><th>a</th><th>b &amp; c</th></tr>\n<tr><td>1</td><td>2.5</td></tr>"
    assert visible_text(f"<style>b{{}}</style><table id='a7'>{rows}</table>") == "a | b & c |\n1 | 2.5 |"
    empty = ("<tr><td>79.20</td><td></td></tr>", "<tr><td></td><td>79.20</td></tr>")
    assert visible_text(empty[0]) != visible_text(empty[1])


def test_pictures_that_nothing_describes_are_compared_pixel_by_pixel():
    def picture(*pixels):
        file = io.BytesIO()
        Image.fromarray(np.array([pixels] * 20, dtype=np.uint8)).save(file, "png")
        return base64.b64encode(file.getvalue()).decode()

    def shown(png):
        return [{"output_type": "display_data", "metadata": {}, "data": {"image/png": png}}]

    stored = picture(*[100] * 20)
    assert compare_exactly(stored, picture(*[100] * 19, 102)) == []
    for other in (picture(*[100] * 19, 103), picture(*[100] * 21)):
        assert "the pictures differ" in compare_exactly(stored, other)[0]
        assert "the pictures differ" in compare_outputs(shown(stored), shown(other), {})[-1]
    assert compare_outputs(shown(stored), shown(stored), {}) == []


def test_pictures_are_compared_in_shape_and_from_afar():
    def picture(height=100, width=200, left=50, colour=(0, 114, 178)):
        pixels = np.full((height, width, 3), 255, dtype=np.uint8)
        pixels[height // 4 : height // 2, left * width // 200 : 3 * width // 4] = colour
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        return base64.b64encode(file.getvalue()).decode()

    assert compare_pictures(picture(), picture(left=52), EXACT) == []
    assert compare_pictures(picture(), picture(height=102, width=204), EXACT) == []
    assert "200 x 100" in compare_pictures(picture(), picture(height=107), EXACT)[0]  # another aspect
    assert "300 x 150" in compare_pictures(picture(), picture(height=150, width=300), EXACT)[0]
    assert "looks different" in compare_pictures(picture(), picture(left=100), EXACT)[-1]
    assert len(compare_pictures(picture(), picture(left=70), Tolerance(figure=0.9))) == 0
    assert "colours differ" in compare_pictures(picture(), picture(colour=(90, 90, 90)), Tolerance(figure=0.9))[0]


def test_descriptions_compare_data_with_their_own_range():
    def about(shift=0.0, n=3):
        return {"n": n, "values": [1000.0, 1001.0 + shift, 1010.0]}

    assert list(differences(about(), about(0.5), "", Tolerance(data=0.1))) == []
    assert list(differences(about(), about(5.0), "", Tolerance(data=0.1)))
    assert list(differences(about(), about(n=4), "", EXACT))
    assert list(differences(["nan", 1.0], [0.0, 1.0], "", Tolerance(data=0.5)))
    assert list(differences([1.0, 1.0], [1.0], "", EXACT))
    assert list(differences([{"label": "a"}], [{"label": "a"}, {"label": "b"}], "", EXACT))
    assert list(differences({"a": 1}, {"a": 1, "legend": {}}, "", EXACT))
    assert list(differences({"off": True}, {"off": False}, "", EXACT))


def test_words_of_a_drawing_have_places_and_axes_have_ticks():
    def about(x=0.5, at=(0, 1, 2), labels=("0%", "50%", "100%"), high=2.0):
        text = {"text": "here", "at": [x, 0.5]}
        return {"texts": [text], "xlim": [0.0, high], "xticks": {"at": list(at), "labels": list(labels)}}

    loose = Tolerance(data=0.1)
    assert list(differences(about(), about(x=0.505), "", EXACT)) == []
    assert list(differences(about(), about(x=0.53), "", EXACT))
    assert list(differences(about(), about(x=0.57), "", loose)) == []
    assert list(differences(about(), about(x=0.7), "", loose))
    assert list(differences(about(), about(labels=("0", "1", "2")), "", loose))
    fewer = about(at=(0, 1), labels=("0%", "50%"), high=1.95)
    assert list(differences(about(), fewer, "", EXACT))
    assert list(differences(about(), fewer, "", loose)) == list(differences(fewer, about(), "", loose)) == []
    assert list(differences(about(), about(at=(0, 2), labels=("0%", "100%")), "", loose))
