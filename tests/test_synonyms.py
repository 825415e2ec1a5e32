"""Requests said in other words: only outside of what they name, and by files that can be read."""

import random
from pathlib import Path

import pytest

from finetune import synonyms


def test_every_other_word_is_lower_case_and_another() -> None:
    known = synonyms.synonyms()
    assert len(known) > 1000
    for key, others in known.items():
        assert key == key.lower().strip() and others, key
        assert all(other and "{" not in other and "|" not in other for other in others), key


def test_a_word_is_said_otherwise_in_its_own_place_and_case() -> None:
    said = {synonyms.varied("Remove them", random.Random(n), each=1.0) for n in range(60)}
    assert len(said) > 3
    assert all(text[0].isupper() for text in said)
    assert synonyms.varied("Remove them", random.Random(1), each=0.0) == "Remove them"
    assert "removed_at" in synonyms.varied("removed_at", random.Random(1), each=1.0)


def test_an_aside_takes_nothing_away() -> None:
    for n in range(200):
        said = synonyms.with_aside("replace x by ?", random.Random(n))
        assert "replace x by ?" in said
        assert "sort by a" in synonyms.with_aside("sort by a.", random.Random(n))


@pytest.mark.parametrize("line", ["remove", "remove =", "= away; out"])
def test_a_line_that_is_none_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "ann.txt").write_text(f"drop = remove\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ann\.txt:2"):
        synonyms.synonyms(tmp_path)


def test_an_aside_without_a_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "ann.txt").write_text("good morning,\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ann\.txt:1"):
        synonyms.asides(tmp_path)
