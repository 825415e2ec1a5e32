"""The written requests as a data set: it loads, what is said alike is found, and its numbers are right."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from datasets import load_dataset

from finetune import dataset
from finetune.dataset import alike, case_texts, checked, delexicalised, near, numbers, row, svg, write
from finetune.written import Request, load

LAB = """== {name}
table staging.berths: berth_no int; ship text [Ada, Bo]; dues float
store harbour_mart

- keep the {{staging.berths|berths}} of {{Ada}}, then the first {{5}}
  filter(table="staging.berths", where="NOT (ship = 'Bo')")
  limit(table="staging.berths", n=5)
- publish {{staging.berths|them}} to {{harbour_mart|the mart}}
  publish(table="staging.berths", store="harbour_mart")
- make it nicer
  clarify(about="how")
"""


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    """Two labs, of which the second is held out."""
    path = tmp_path / "ivy.txt"
    path.write_text(LAB.format(name="harbour") + LAB.format(name="quay"), encoding="utf-8")
    return load(path)


def _held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "held_out", lambda request: request.lab.name.endswith("quay"))


def test_the_folder_loads(requests: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _held(monkeypatch)
    out = tmp_path / "out"
    assert write(requests, out) == {"train": 3, "validation": 3}
    read = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in read.items()} == {"train": 3, "validation": 3}
    first = read["train"][0]
    assert (first["id"], first["trade"], first["actions"], first["status"]) == ("ivy:5", "harbour", 2, "act")
    assert first["agents"] == ["transformation"]
    assert (out / "README.md").read_text(encoding="utf-8").startswith("---\nlicense: apache-2.0\n")


def test_a_row_has_the_whole_plan_and_both_texts(requests: list[Request]) -> None:
    told = row(requests[0])
    assert told["intent"] == "keep the berths of Ada, then the first 5"
    assert told["template"] == "keep the {staging.berths|berths} of {Ada}, then the first {5}"
    assert json.loads(told["calls"])[0]["arguments"]["where"] == "(ship = 'Bo') IS NOT TRUE"
    assert json.loads(told["catalog"])["stores"] == ["harbour_mart"]
    assert (row(requests[2])["status"], row(requests[2])["actions"]) == ("clarify", 0)


def test_a_planted_near_duplicate_is_found(requests: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    _held(monkeypatch)
    found = alike(
        requests, {"case dev:1": "Keep the berths of Ada, then the first 6.", "case dev:2": "quite another thing"}
    )
    assert {pair[:2] for pair in found["with a case"]} == {("case dev:1", "ivy:5"), ("case dev:1", "ivy:16")}
    assert len(found["across the splits"]) == len(found["within a writer"]) == 3
    assert found["between writers"] == []


def test_alike_is_as_by_comparing_all_pairs() -> None:
    words = [
        "sort the paid orders by day",
        "sort the paid orders by date",
        "keep paid orders",
        "sort paid orders by the day",
        "no",
    ]
    texts = {str(n): word for n, word in enumerate(words)}
    for least in (0.3, 0.5, 0.7):
        sets = {key: dataset.shingles(text) for key, text in texts.items()}
        wanted = {
            (one, two)
            for one in sets
            for two in sets
            if one < two and len(sets[one] & sets[two]) / len(sets[one] | sets[two]) >= least
        }
        assert {pair[:2] for pair in near(texts, least)} == wanted


def test_a_case_is_named_by_its_id_alone(requests: list[Request], tmp_path: Path) -> None:
    secret = "keep the berths of Ada, then the first 5 of all"
    (tmp_path / "dev.jsonl").write_text(json.dumps({"id": "d-1", "intent": secret}) + "\n", encoding="utf-8")
    cases = case_texts(tmp_path)
    assert cases == {"case dev:d-1": secret}
    told = "\n".join(checked(requests, cases))
    assert "case dev:d-1 ~ ivy:5" in told
    assert secret not in told


def test_numbers_are_of_how_it_is_said(requests: list[Request]) -> None:
    assert delexicalised(requests[0]) == "keep the <table> of <value>, then the first <number>"
    counted = numbers(requests)
    assert (counted.requests, counted.distinct, counted.trades) == (6, 3, 2)
    assert counted.several == pytest.approx(1 / 3)
    assert counted.abstaining == pytest.approx(1 / 3)


def test_the_picture_has_a_bar_for_every_action_and_writer(requests: list[Request]) -> None:
    drawn = ElementTree.fromstring(svg(requests))  # ours, not a stranger's
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"publish", "pivot", "ivy"} <= set(texts)
