"""One renderer of tables: five formats of the same rows, and no cell breaks a format."""
import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bige.tables import TEXT_FORMATS, cell_text, columns_of, number_text, table

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]))
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-10**6, 10**6), st.floats(), WORDS)
ROW = st.tuples(VALUES, VALUES, VALUES).map(lambda values: dict(zip(("name", "a", "b"), values)))
ROWS = st.lists(ROW, min_size=1, max_size=5)


def test_values_are_said_in_three_digits_and_words():
    numbers = [0.0, -0.0, 104.25, 1234.5, 0.000123, np.float32(0.5), float("inf"), 7, np.int64(7)]
    assert [cell_text(v) for v in numbers] == ["0", "0", "104", "1234", "0.000123", "0.5", "–", "7", "7"]
    assert [cell_text(v) for v in (True, np.bool_(False), None, "")] == ["✓ yes", "✗ no", "–", ""]
    assert number_text(np.nan) == "–"


def test_numbers_stand_right_and_words_left():
    rows = [{"trial": "a", "status": "Solve_Succeeded", "iterations": 66, "error": "0.1±0.02"},
            {"trial": "long_name", "status": "failed", "reason": "not enough memory"}]
    assert table(rows).splitlines() == ["trial      status           iterations     error  reason",
                                        "a          Solve_Succeeded          66  0.1±0.02",
                                        "long_name  failed                                 not enough memory"]


def test_missing_keys_are_empty_and_keep_their_order():
    rows = [{"a": 1}, {"b": 2, "a": 3}]
    assert columns_of(rows) == ["a", "b"]
    assert table(rows, "csv") == "a,b\n1,\n3,2"
    assert table(rows, "md") == "| a | b |\n| --- | --- |\n| 1 |  |\n| 3 | 2 |"


@pytest.mark.parametrize("format", TEXT_FORMATS)
def test_no_rows_are_no_table(format):
    assert table([], format) == ""


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="'xml'.*text, md, html, latex, csv"):
        table([{"a": 1}], "xml")


@given(ROWS)
def test_html_is_well_formed_and_says_the_same(rows):
    tree = ElementTree.fromstring(table(rows, "html", "a < b & c"))
    cells = [["".join(cell.itertext()) for cell in line] for line in tree.iter("tr")]
    assert cells == [["name", "a", "b"], *([cell_text(v) for v in row.values()] for row in rows)]
    assert tree.find("caption").text == "a < b & c"


@given(ROWS)
def test_csv_is_read_back(rows):
    back = list(csv.DictReader(io.StringIO(table(rows, "csv"))))
    assert back == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows]


@given(ROWS)
def test_markdown_and_latex_have_a_cell_for_each_value(rows):
    lines = table(rows, "md").split("\n")
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in lines] == [4] * (len(rows) + 2)
    body = table(rows, "latex").split("\n")[2:-2]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in body if line != r"\hline")


def test_pass_and_fail_have_a_class_beside_their_word():
    page = table([{"sample": 1, "satisfied": True}, {"sample": 2, "satisfied": False}], "html")
    assert '<td class="yes">✓ yes</td>' in page and '<td class="no">✗ no</td>' in page
    assert '<th scope="row">1</th>' in page
