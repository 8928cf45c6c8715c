"""Several mutations of one file, made small by hypothesis: refused, or read as a reference reads it."""
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.bases import bases
from fuzz.harness import GOOD, KINDS, case, judge

pytest.importorskip("torch")


class Prepared:
    """Content of each base file, and a folder for each with what lies beside it."""

    def __init__(self, folder: Path):
        (folder / "made").mkdir()
        self.folder, (self.made, beside) = folder, bases(folder / "made")
        for name, kind in KINDS.items():
            (folder / name).mkdir()
            for file, content in beside.get(name, {}).items():
                (folder / name / file).write_bytes(content)
            kind.read(self.written(name, self.made[name]))

    def written(self, name: str, content: bytes) -> Path:
        """The file under which a kind is read, with this content."""
        path = self.folder / name / KINDS[name].file
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared(tmp_path_factory.mktemp("combined"))


def mutated(kind, content, numbers):
    """`content` changed by the mutations of these cases; what cannot be changed stays."""
    for i in numbers:
        try:
            content = case(kind, content, i)[1]
        except Exception:  # a damaged archive cannot be opened to change what is in it
            pass
    return content


def check(prepared, name, numbers):
    """One case: no traceback, nothing wrong in silence."""
    kind = KINDS[name]
    path = prepared.written(name, mutated(kind, prepared.made[name], numbers))
    outcome, words = judge(kind, path, harmless=False)
    assert outcome in GOOD, f"{outcome}: {words[-1500:]}"


CASES = given(st.sampled_from(list(KINDS)), st.lists(st.integers(0, 10**6), min_size=2, max_size=4))
NOT_SLOW = [HealthCheck.too_slow]
test_mutations_of_mutations = settings(max_examples=100, suppress_health_check=NOT_SLOW)(CASES(check))
test_more_mutations_of_mutations = pytest.mark.slow(
    settings(max_examples=2000, suppress_health_check=NOT_SLOW)(CASES(check))
)
