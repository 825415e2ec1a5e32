"""Written requests are read, checked, marked, and said again with text and plan in step."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agentlab.completion import complete
from agentlab.errors import PlanError
from agentlab.linking import Index, link
from agentlab.plan import Plan
from agentlab.slots import decode, prompt_text
from agentlab.view import View
from finetune.marking import Unsayable, marked
from finetune.respeaking import Resaid
from finetune.written import Calls, Mention, Request, Unfit, corpus, load, problems, shown, spelt

LAB = """# a comment
== harbour
table staging.berths: berth_no int; ship text [Ada, 'Bo']; "Dues Paid" float; left_on date; moored bool
table ships: ship text [Ada, Bo]; flag text
source pilots: jobs, tides
store harbour_mart
query dues by ship
pipeline tide load
schedule harbour_mart refresh
file in/berths.csv
snapshot spring of staging.berths

"""
Writes = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Writes:
    def write(requests: str, lab: str = LAB) -> Path:
        path = tmp_path / "ivy.txt"
        path.write_text(lab + requests, encoding="utf-8")
        return path

    return write


def test_every_line_of_a_lab_is_read(written: Writes) -> None:
    (request,) = load(written('- keep {Ada}\'s\n  filter(table="staging.berths", where="ship = \'Ada\'")\n'))
    lab = request.lab
    assert lab.name == "ivy: harbour"
    assert lab.tables["staging.berths"] == {
        "berth_no": "int",
        "ship": "text",
        "Dues Paid": "float",
        "left_on": "date",
        "moored": "bool",
    }
    assert lab.values["staging.berths"] == {"ship": ("Ada", "Bo")}
    assert (lab.sources, lab.stores, lab.queries) == ({"pilots": ("jobs", "tides")}, ["harbour_mart"], ["dues by ship"])
    assert (lab.pipelines, lab.schedules) == (["tide load"], ["harbour_mart refresh"])
    assert (lab.files, lab.snapshots) == (["in/berths.csv"], {"spring": "staging.berths"})


def test_a_view_has_the_tasks_that_the_lab_could_schedule(written: Writes) -> None:
    (request,) = load(written('- stop it\n  clarify(about="task")\n'))
    tasks = request.lab.view().tasks
    assert {"tide load", "harbour_mart refresh", "ships refresh", "pilots.tides pull"} <= set(tasks)


def test_braces_say_what_the_text_names(written: Writes) -> None:
    text = "- sort by {berth_no|the berth}, {5} only"
    plan = '\n  sort(table="staging.berths", by=["berth_no"])\n  limit(table="staging.berths", n=5)\n'
    (request,) = load(written(text + plan))
    assert request.text == "sort by the berth, 5 only"
    assert request.said == {"berth_no", "5"}
    assert [call["name"] for call in request.calls] == ["sort", "limit"]
    assert list(problems(request)) == []


def test_a_new_name_is_the_one_that_the_text_says(written: Writes) -> None:
    plan = '  derive(table="staging.berths", column="DuesTwice", expr="berth_no * 2")\n'
    (request,) = load(written("- put {DuesTwice|dues twice} beside\n" + plan))
    assert request.calls[0]["arguments"]["column"] == "dues_twice"


@pytest.mark.parametrize(
    ("requests", "fault"),
    [
        ("- {ship off\n  limit(n=1)\n", "the braces don't match"),
        ("- no plan at all\n", "has no plan"),
        ("- x\n  limt(n=1)\n", "'limt' is no action"),
        ("- x\n  limit(rows=1)\n", "limit has no argument rows; it has table"),
        ("- x\n  limit(1)\n", "is no call with named arguments"),
        ("- x\n  limit(n=\n", "can't be read"),
        ("a stray line\n", "is neither a part of a lab nor a request"),
        ("table t: x number\n", "'x number' is no column"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(written: Writes, requests: str, fault: str) -> None:
    path, told = written(requests), list[str]()
    assert load(path, told) == []
    assert len(told) == 1
    assert fault in told[0]
    assert told[0].startswith(f"ivy.txt:{LAB.count(chr(10)) + 1}: ")
    with pytest.raises(Unfit, match=r"ivy\.txt:"):
        load(path)


@pytest.mark.parametrize(
    ("requests", "fault"),
    [
        ('- drop {ship}\n  drop_columns(table="staging.births", columns=["ship"])\n', "no table 'staging.births'"),
        ('- drop it\n  drop_columns(table="ships", columns=["berth_no"])\n', "no column 'berth_no'"),
        ('- keep {7}\n  limit(table="ships", n=5)\n', "{7} stands for nothing"),
        ("- what?\n  clarify()\n", "clarify needs about="),
        ('- both\n  refuse(because="scope")\n  limit(table="ships", n=5)\n', "nothing stands beside them"),
    ],
)
def test_a_plan_that_does_not_fit_its_lab_is_told(written: Writes, requests: str, fault: str) -> None:
    (request,) = load(written(requests))
    assert fault in "; ".join(problems(request))


def test_every_written_request_fits_its_lab() -> None:
    requests = corpus()
    assert len([request for request in requests if not request.writer.endswith("*")]) > 10_000
    assert [f"{q.writer}:{q.line}: {told}" for q in requests for told in problems(q)] == []


def test_a_rewording_names_what_its_request_names(tmp_path: Path) -> None:
    (tmp_path / "written").mkdir()
    (tmp_path / "reworded").mkdir()
    lab = '== harbour\ntable ships: name text; n int\n\n- keep {5} ships\n  limit(table="ships", n=5)\n'
    (tmp_path / "written" / "ann.txt").write_text(lab)
    others = ["4| the first {5|five} will do", "4| just {7}", "9| {5} of nothing", "4| keep {5} ships"]
    (tmp_path / "reworded" / "ann.txt").write_text("\n".join(others))
    assert [(q.writer, q.text) for q in corpus(tmp_path / "written")] == [
        ("ann", "keep 5 ships"),
        ("ann*", "the first five will do"),
    ]


@pytest.mark.parametrize(
    ("sql", "said", "shown"),
    [
        ("price*(1+19/100)", {"19"}, "<price>*(1+{19}/100)"),
        ("NOT (status = 'void')", {"void"}, "NOT(<status>={void})"),
        ("name LIKE 'A%'", {"A"}, "starts_with(<name>,{A})"),
        ("paid", set(), "<paid>=true"),
        ("day >= DATE '2024-05-01'", {"2024-05-01"}, "<day>>={2024-05-01}"),
    ],
)
def test_sql_is_marked(sql: str, said: set[str], shown: str) -> None:
    condition = "(" not in sql or sql.startswith("NOT")
    plain = str.maketrans("\x01\x02\x03\x04", "<>{}")
    assert marked(sql, said, condition=condition).translate(plain) == shown


@pytest.mark.parametrize("sql", ["price * 7", "name LIKE '_a'", "regexp_matches(name, 'x')"])
def test_what_the_form_lacks_is_unsayable(sql: str) -> None:
    with pytest.raises(Unsayable):
        marked(sql, set())


REQUESTS = """- keep the {staging.berths|berths} of {Ada} with {berth_no|a berth} over {10}, by {left_on|when they left}
  filter(table="staging.berths", where="ship = 'Ada' AND berth_no > 10")
  sort(table="staging.berths", by=["left_on"])
- call {flag} {country} in {ships}
  rename(table="ships", column="flag", to="country")
- newest {200} {jobs} from {pilots}
  pull(source="pilots", resource="jobs", limit=200, order="newest")
- load {in/berths.csv|the berths file}
  load_file(path="in/berths.csv")
- run {harbour_mart refresh|the harbour mart's refresh} {daily at 06:00|every day at 6:00}
  schedule(task="harbour_mart refresh", when="daily at 06:00")
- which one?
  clarify(about="how")
"""


def _requests(written: Writes) -> list[Request]:
    requests = load(written(REQUESTS))
    assert [fault for request in requests for fault in problems(request)] == []
    return requests


def _through_the_form(request: Request, calls: Calls, view: View) -> Plan:
    """What the taught answer to a request decodes to, as the model's does."""
    index = Index(view)
    _, answer = shown(request, calls, view, index)
    linked = link(request.text, index)
    prompt_text(linked, view, None)
    return Plan.from_calls(complete(decode(answer, linked), linked, view))


def test_a_request_as_written_comes_back_from_the_models_form(written: Writes) -> None:
    for request in _requests(written):
        back = _through_the_form(request, spelt(request), request.lab.view())
        assert [action.tool() for action in back.actions] == [call["name"] for call in request.calls]


def test_said_again_the_plan_and_the_text_stay_together(written: Writes) -> None:
    """Fifty sayings of each request: what the answer says is a plan of the same actions on names of the new lab."""
    r, came = random.Random(11), 0
    for request in _requests(written):
        for _ in range(50):
            try:
                made = Resaid(request, spelt(request), r)
                plan = _through_the_form(replace(request, parts=(Mention(made.text),)), made.calls, made.view)
            except (PlanError, ValueError):  # Now and then it can't be said; of many it is few.
                continue
            assert [action.tool() for action in plan.actions] == [call["name"] for call in request.calls]
            assert {name for action in plan.actions for name in action.references("table")} <= set(made.view.tables)
            came += 1
    assert came > 200
