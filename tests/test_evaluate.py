"""Cases: read strictly, carried out in labs of their own, judged by the end state. A scripted model replays plans."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import agentlab
from agentlab.actions import ACTIONS
from agentlab.cli import app
from agentlab.evaluation import Case, FormError, Judged, Result, carry_out, evaluate, load
from agentlab.evaluation.cases import case_from
from agentlab.evaluation.expectations import EXPECTATIONS
from agentlab.evaluation.form import Expectation
from agentlab.evaluation.plans import fires, spans_equal
from agentlab.evaluation.reading import from_csv, read_file, write_file
from agentlab.evaluation.score import Share
from agentlab.evaluation.values import same
from agentlab.plan import Plan
from agentlab.prompts import Ask

CASES = Path(agentlab.__file__).parents[1] / "data" / "cases"
EXECUTION, BLIND = CASES / "execution.jsonl", CASES / "blind.jsonl"

BOATS = {"staging.boats": {"csv": "boat,built,length_m\nTern,1998,12.5\nGull,2004,9\nSkua,1987,15.25\n"}}
RENAME = [{"name": "rename", "arguments": {"table": "staging.boats", "column": "boat", "to": "name"}}]
SORT = [{"name": "sort", "arguments": {"table": "staging.boats", "by": ["boat"]}}]
DROP = [{"name": "drop", "arguments": {"table": "staging.boats"}}]


def case(expect: list[dict[str, Any]], actions: Any = RENAME, agent: str = "transformation", **state: Any) -> Case:
    """One case about boats."""
    given = {"id": "a", "agent": agent, "intent": "do it", "tables": BOATS, "expect": expect, "actions": actions}
    return case_from(json.dumps({**given, **state}))


def done(tmp_path: Path, *expect: dict[str, Any], **more: Any) -> Judged:
    return carry_out(case(list(expect), **more), tmp_path / "lab", None)


# Reading


def test_every_expectation_of_the_form_has_its_function():
    assert set(EXPECTATIONS) == set(Expectation.model_fields) - {"are", "count", "accept"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"expect": [{"stats": "done"}]}, "expect.0: unknown key 'stats'; did you mean 'status'?"),
        ({"tabels": {}}, "unknown key 'tabels'; did you mean 'tables'?"),
        ({"stores": {"s": {"quotta": "1 GB"}}}, "stores.s: unknown key 'quotta'; did you mean 'quota'?"),
        (
            {"sources": {"s": {"kind": "rest", "resources": {"r": {"cvs": "a"}}}}},
            "unknown key 'cvs'; did you mean 'csv'?",
        ),
        ({"expect": [{"layout": {"tabel": "t"}}]}, "expect.0.layout: unknown key 'tabel'; did you mean 'table'?"),
        ({"expect": [{"status": "finished"}]}, "no status 'finished'; did you mean"),
        ({"expect": [{"status": "done|clarfy"}]}, "no status 'clarfy'; did you mean 'clarify'"),
        (
            {"expect": [{"finding": {"table": "t", "kind": "mising"}}]},
            "no kind of finding 'mising'; did you mean 'missing'",
        ),
        ({"expect": [{"plan": ["renam"]}]}, "no action 'renam'; did you mean 'rename'"),
        ({"expect": [{"columns": "t"}]}, "'are' says what"),
        ({"expect": [{"status": "done", "plan": ["sort"]}]}, "an expectation says one thing"),
        ({"expect": [{"finding": {"table": "t", "kind": "missing"}, "count": "2"}]}, "valid integer"),
        ({"expect": []}, "at least 1 item"),
        ({"agent": "cleaning"}, "agent: Input should be 'ingestion'"),
        ({"tables": {"t": {"csv": "a", "sql": "SELECT 1"}}}, "give the rows as csv or as sql, one of both"),
    ],
)
def test_what_is_not_of_the_form_is_told_with_file_line_and_the_nearest_key(
    change: dict[str, Any], told: str, tmp_path: Path
):
    right = {"id": "a", "agent": "quality", "intent": "look", "expect": [{"status": "done"}]}
    file = tmp_path / "cases.jsonl"
    file.write_text("\n".join([json.dumps(right), "", json.dumps({**right, "id": "b", **change})]))
    with pytest.raises(FormError) as fault:
        load(file)
    assert str(fault.value).startswith(f"{file}:3: ") and told in str(fault.value)


def test_a_folder_is_all_its_files_and_an_id_is_one_cases(tmp_path: Path):
    line = json.dumps({"id": "a", "agent": "quality", "intent": "look", "expect": [{"status": "done"}]})
    (tmp_path / "one.jsonl").write_text(line)
    assert [c.id for c in load(tmp_path)] == ["a"]
    (tmp_path / "two.jsonl").write_text(line)
    with pytest.raises(FormError, match="two cases 'a'"):
        load(tmp_path)
    with pytest.raises(FormError, match=r"no \.jsonl file"):
        load(tmp_path.parent / "nowhere") if (tmp_path / "nowhere").mkdir() else load(tmp_path / "nowhere")


def test_the_blind_cases_are_of_the_form():
    assert len(load(BLIND)) == 80


# The end state


def test_a_case_passes_by_its_end_state(tmp_path: Path):
    told = done(
        tmp_path,
        {"status": "done"},
        {"columns": "staging.boats", "are": ["built", "name", "length_m"]},
        {"rows": "SELECT name FROM staging.boats ORDER BY name", "are": [["Gull"], ["Skua"], ["Tern"]]},
        {"plan": ["rename"]},
        {"args": {"to": "name"}},
        {"agents": ["transformation"]},
    )
    assert (told.passed, told.why, told.status) == (True, "", "done")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"status": "clarify|refuse"}, "status: done, not clarify|refuse"),
        ({"columns": "staging.boats", "are": ["boat", "built", "length_m"]}, "lacking: ['boat'], too many: ['name']"),
        ({"columns": "staging.boots", "are": []}, "no table 'staging.boots'; did you mean 'staging.boats'"),
        ({"rows": "SELECT name FROM staging.boats", "are": [["Skua"]]}, "there are 3 rows, not 1"),
        ({"rows": "SELECT max(built) FROM staging.boats", "are": [[2003]]}, "row 1 is (2004), not (2003)"),
        ({"rows": "SELECT nothing FROM staging.boats", "are": []}, "the query doesn't run"),
        ({"unchanged": ["staging.boats"]}, "staging.boats has changed"),
        ({"unchanged": []}, "table staging.boats has changed"),
        ({"plan": ["sort"]}, "plan: rename, not sort"),
        ({"args": {"to": "title"}}, 'no action has {"to": "title"}'),
        ({"agents": ["quality"]}, "transformation, not quality"),
        ({"finding": {"table": "staging.boats", "kind": "duplicate"}, "count": 0}, "no report is about staging.boats"),
        ({"passes": True}, "the run has no verdict"),
        ({"suggests": ["dedupe"]}, "it suggests nothing"),
        ({"store": {"name": "mart"}}, "no store 'mart'"),
        ({"published": {"table": "staging.boats", "store": "mart"}}, "no store 'mart'"),
        ({"export": {"path": "exports/boats.csv"}}, "no file 'exports/boats.csv'"),
        ({"no_export": {"path": "catalog.sqlite"}}, "there is a file catalog.sqlite"),
        ({"schedule": {"cron": "0 2 * * *"}}, "no such schedule"),
        ({"retention": {"table": "staging.boats"}}, "no such rule"),
        ({"snapshot": {"table": "staging.boats", "name": "s"}}, "no snapshot 's'"),
        ({"snapshot": {"table": "staging.boats"}}, "the run took no snapshot"),
        ({"usage": {"store": "mart"}}, "the usage of mart wasn't told"),
        ({"layout": {"kind": "index|order"}}, "no such layout; there is none"),
        ({"limit": {"source": "api"}}, "no such limit"),
        ({"faster": {"query": "q"}}, "no query 'q'"),
        ({"slowest": "q"}, "no query 'q' among those that were diagnosed"),
    ],
)
def test_what_does_not_hold_is_told(wrong: dict[str, Any], why: str, tmp_path: Path):
    told = done(tmp_path, {"status": "done"} if "status" not in wrong else {"plan": ["rename"]}, wrong)
    assert not told.passed and why in told.why


def test_a_table_that_was_only_sorted_has_changed_and_a_like_one_has_not(tmp_path: Path):
    told = done(tmp_path, {"unchanged": ["staging.boats"]}, actions=SORT)
    assert "row 1, boat: 'Tern' -> 'Gull'" in told.why
    same_rows = [{"name": "limit", "arguments": {"table": "staging.boats", "n": 50}}]
    assert carry_out(case([{"unchanged": ["staging.boats"]}], same_rows), tmp_path / "again", None).passed


def test_nobody_approves_so_the_plan_and_what_it_left_alone_are_judged(tmp_path: Path):
    expect = [{"status": "approval"}, {"unchanged": ["staging.boats"]}, {"unchanged": []}, {"plan": ["drop"]}]
    assert carry_out(case(expect, DROP, "storage"), tmp_path / "lab", None).why == ""


def test_authority_is_that_of_the_cases_agent(tmp_path: Path):
    assert done(tmp_path, {"status": "refuse"}, {"unchanged": []}, actions=DROP).passed


def test_a_crash_is_a_failed_case_with_its_reason(tmp_path: Path):
    told = done(tmp_path, {"status": "done"}, tables={"staging.boats": {"sql": "SELECT * FROM nowhere"}})
    assert (told.passed, told.status) == (False, "failed") and "nowhere" in told.why


def test_without_a_plan_there_is_nothing_to_replay(tmp_path: Path):
    assert "has no plan to replay" in done(tmp_path, {"status": "done"}, actions=1).why


def test_a_service_that_cannot_be_started_skips_the_case(tmp_path: Path):
    told = done(tmp_path, {"status": "done"}, needs=["mainframe"])
    assert (told.passed, told.status) == (None, "skipped") and "mainframe" in told.why
    result = Result("scripted", (told,))
    assert (result.passed, result.total) == (0, 0) and "skipped: 1" in str(result)


class Spied(Case):
    """A case that notes what is looked at."""

    def __getattribute__(self, name: str) -> Any:
        LOOKED.append(name)
        return super().__getattribute__(name)


LOOKED: list[str] = []


class Planner:
    """Notes when it is asked."""

    name = "planner"

    def plan(self, ask: Ask) -> Plan:
        LOOKED.append("planned")
        return Plan.from_calls(RENAME)


def test_what_is_expected_is_looked_at_only_after_the_run(tmp_path: Path):
    one = Spied.model_validate(case([{"plan": ["rename"]}]).model_dump(exclude_unset=True))
    LOOKED.clear()
    assert carry_out(one, tmp_path / "lab", Planner()).passed
    assert "expect" not in LOOKED[: LOOKED.index("planned")] and "expect" in LOOKED


# Values, files, spans


def test_values_are_compared_by_what_they_mean():
    assert same(0.1 + 0.2, 0.3) and same(Decimal("1.10"), 1.1) and same(5, 5.0)
    assert same(date(2024, 5, 1), "2024-05-01") and same(datetime(2024, 5, 1, 6), "2024-05-01 06:00:00")
    assert same(None, None) and same([1, "a"], [1, "a"])
    assert not same(1.00001, 1) and not same("1", 1) and not same(None, 0) and not same(True, 1)
    assert not same(date(2024, 5, 2), "2024-05-01") and not same("A", "a")


def test_schedules_are_the_same_when_they_fire_together():
    assert fires("*/15 * * * *") == fires("0,15,30,45 * * * *") != fires("*/20 * * * *")
    assert fires("0 6 * * 1-5") == fires("0 6 * * MON-FRI") and len(fires("0 0 1 * *")) == 1000


def test_spans_are_the_same_when_they_last_as_long():
    assert spans_equal("24 hours", "1 day") and spans_equal("24 months", "2 years")
    assert not spans_equal("90 days", "3 months")


@pytest.mark.parametrize(
    ("name", "format"), [("a.csv", "csv"), ("a.parquet", "parquet"), ("a.jsonl", "jsonl"), ("a.xlsx", "excel")]
)
def test_a_file_is_written_by_its_extension_and_read_back_by_its_content(name: str, format: str, tmp_path: Path):
    write_file(from_csv("id,day\n1,2024-05-01\n2,\n3,2024-05-03\n"), tmp_path / name)
    assert read_file(tmp_path / name) == (format, 3)


def test_rows_are_read_as_duckdb_reads_csv():
    table = from_csv("id,zip,day,at,ok\n1,012,2024-05-01,2024-05-01 06:00:00,true\n", {"zip": "text"})
    kinds = [pa.int64(), pa.string(), pa.date32(), pa.timestamp("us"), pa.bool_()]
    assert table.schema.types == kinds and table["zip"].to_pylist() == ["012"]


# The whole


def test_the_interval_is_wilsons():
    low, high = Share(80, 80).interval
    assert (round(low, 4), round(high, 4)) == (0.9542, 1.0) and Share(0, 0).interval == (0.0, 1.0)


def test_abstentions_are_right_wrong_or_missed(tmp_path: Path):
    ask = [{"name": "clarify", "arguments": {"question": "Which?"}}]
    told = [
        carry_out(case([{"status": "clarify|refuse"}], ask), tmp_path / "1", None),
        carry_out(case([{"status": "done"}], ask), tmp_path / "2", None),
        carry_out(case([{"status": "clarify"}]), tmp_path / "3", None),
    ]
    assert Result("scripted", tuple(told)).abstentions == {"right": 1, "wrong": 1, "missed": 1}


def written(tmp_path: Path, *lines: dict[str, Any]) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


GOOD = {"id": "g", "agent": "transformation", "voice": "manager", "intent": "do it", "tables": BOATS, "actions": RENAME}


def test_the_command_prints_the_table_and_last_one_line_of_json(tmp_path: Path):
    path = written(
        tmp_path,
        {**GOOD, "expect": [{"status": "done"}]},
        {**GOOD, "id": "b", "agent": "routing", "voice": "analyst", "expect": [{"plan": ["sort"]}]},
    )
    ran = CliRunner().invoke(app, ["evaluate", str(path), "--model", "scripted", "--json"])
    told = json.loads(ran.stdout.splitlines()[-1])
    assert ran.exit_code == 0 and list(told) == ["passed", "total", "by", "plan_ms", "cases"]
    assert (told["passed"], told["total"]) == (1, 2) and set(told["plan_ms"]) == {"p50", "p95"}
    assert told["cases"][0] == {"id": "g", "passed": True, "status": "done", "plan": RENAME, "why": ""}
    assert told["cases"][1]["why"] == "plan: rename, not sort"
    assert told["by"]["agent"]["transformation"]["passed"] == 1 and set(told["by"]["voice"]) == {"manager", "analyst"}
    assert "1/2 passed g" in ran.stderr
    assert str(evaluate(path, model="scripted", agent="routing")).count("0 of 1") > 0


def test_the_command_ends_with_2_where_a_case_is_not_of_the_form(tmp_path: Path):
    path = written(tmp_path, {**GOOD, "expect": [{"status": "done"}, {"colums": "t", "are": []}]})
    ran = CliRunner().invoke(app, ["evaluate", str(path)])
    assert ran.exit_code == 2
    assert f"{path}:1: expect.1: unknown key 'colums'; did you mean 'columns'?" in ran.stderr


# Our own cases


def test_our_cases_have_every_action_several_times():
    cases = load(EXECUTION)
    planned = [call["name"] for one in cases for call in one.calls or []]
    few = {name: planned.count(name) for name in ACTIONS if planned.count(name) < 2}
    assert len(cases) >= 120 and not few, f"actions with too few cases: {few}"


#: Those of our cases that take over a second: they measure queries, or start a server.
SLOW = (
    "ex-index",
    "ex-order_by",
    "ex-partition",
    "ex-materialize",
    "ex-recommend",
    "ex-compact",
    "ex-diagnose",
    "ex-pull-13",
)


def test_the_right_plans_lead_to_the_right_end_states(tmp_path: Path):
    quick = [one for one in load(EXECUTION) if not one.id.startswith(SLOW)]
    told = [carry_out(one, tmp_path / one.id, None) for one in quick]
    assert [f"{one.id}: {one.why}" for one in told if one.passed is False] == []
