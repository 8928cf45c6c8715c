"""Mutated inputs: each is refused with its cure, or read as an independent reader reads it."""
import pytest

from fuzz.bases import bases
from fuzz.harness import KINDS, failures, run, table

pytest.importorskip("torch")


def judged(tmp_path, each: dict[str, int]):
    """All results, and the table printed."""
    (tmp_path / "made").mkdir()
    (tmp_path / "cases").mkdir()
    made, beside = bases(tmp_path / "made")
    results = list(run(made, tmp_path / "cases", each, beside))
    print(table(results))
    return results


def test_a_sample_of_mutated_inputs(tmp_path):
    results = judged(tmp_path, dict.fromkeys(KINDS, 32))
    assert len(results) >= 500 and not failures(results), failures(results)


@pytest.mark.slow
def test_five_thousand_mutated_inputs(tmp_path):
    results = judged(tmp_path, {name: 330 for name in KINDS})
    assert len(results) >= 5000 and not failures(results), failures(results)
