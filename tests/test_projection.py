"""What an action means for a catalog's entry: where columns come from, and which results need no new files."""

from __future__ import annotations

from typing import Any

import pytest

from agentlab.actions import Schema, Transform
from agentlab.compile import lineage, projection
from agentlab.entries import TableDoc
from agentlab.plan import action_from

SCHEMA: Schema = {"id": "int", "who": "text", "paid": "float"}
OTHER: Schema = {"who": "text", "paid": "int", "city": "text"}


def action(name: str, **arguments: Any) -> Transform:
    found = action_from({"name": name, "arguments": {"table": "t", **arguments}})
    assert isinstance(found, Transform)
    return found


def this(*columns: str) -> list[tuple[str, str]]:
    return [("this", column) for column in columns]


SAME = {"id": this("id"), "who": this("who"), "paid": this("paid")}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (action("filter", where="id > 1"), SAME),
        (action("fill", column="paid", method="mean"), SAME),
        (action("rename", column="who", to="name"), {"id": this("id"), "name": this("who"), "paid": this("paid")}),
        (action("drop_columns", columns=["who"]), {"id": this("id"), "paid": this("paid")}),
        (action("select", columns=["paid", "id"]), {"paid": this("paid"), "id": this("id")}),
        (action("derive", column="x", expr="paid * id"), {**SAME, "x": this("paid", "id")}),
        (action("derive", column="x", expr="sum(paid) over (order by id)"), {**SAME, "x": this("paid", "id")}),
        (action("derive", column="x", expr="1"), {**SAME, "x": []}),
        (
            action("split", column="who", into_columns=["a", "b"], separator=" "),
            {**SAME, "a": this("who"), "b": this("who")},
        ),
        (
            action("aggregate", by=["who"], measures=[{"function": "sum", "column": "paid"}, {"function": "count"}]),
            {"who": this("who"), "sum_paid": this("paid"), "count": []},
        ),
        (
            action("unpivot", columns=["id", "paid"], name_to="n", value_to="v"),
            {"who": this("who"), "n": [], "v": this("id", "paid")},
        ),
    ],
    ids=str,
)
def test_a_column_comes_from_those_that_its_values_are_made_of(one: Transform, expected: dict[str, Any]):
    assert lineage(one, SCHEMA) == expected


def test_a_join_brings_columns_from_the_other_table():
    one = action("join", other="staging.u", on=["who"])
    assert lineage(one, SCHEMA, OTHER) == {**SAME, "paid_u": [("other", "paid")], "city": [("other", "city")]}


def test_the_key_of_an_outer_join_comes_from_both_tables():
    one = action("join", other="u", on=["who"], how="outer", columns=["city"])
    assert lineage(one, SCHEMA, OTHER)["who"] == [("this", "who"), ("other", "who")]


def test_a_union_has_columns_of_both_tables():
    found = lineage(action("union", other="u"), SCHEMA, OTHER)
    assert found["id"] == this("id")
    assert found["paid"] == [("this", "paid"), ("other", "paid")]
    assert found["city"] == [("other", "city")]


def test_a_unions_columns_that_differ_by_case_are_one():
    assert lineage(action("union", other="u"), {"Email": "text"}, {"email": "text"}) == {
        "Email": [("this", "Email"), ("other", "email")]
    }


def test_the_columns_of_a_pivot_are_known_from_its_result():
    one = action("pivot", index=["id"], columns="who", values="paid")
    assert lineage(one, SCHEMA, result=["id", "Ann", "Bob"]) == {
        "id": this("id"),
        "Ann": this("who", "paid"),
        "Bob": this("who", "paid"),
    }


# Projections: results that are the same files, seen otherwise.

DOC = TableDoc(path="tables/t/v1-r1", schema=SCHEMA, rows=3)


def through(doc: TableDoc, one: Transform) -> TableDoc:
    """The doc that follows from a projection, as a run would record it."""
    return doc.model_copy(update={"projection": projection(one, doc), "schema_": one.effect(doc.schema_)})


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (
            action("rename", column="who", to="name"),
            [("id", "id", None), ("name", "who", None), ("paid", "paid", None)],
        ),
        (action("drop_columns", columns=["who"]), [("id", "id", None), ("paid", "paid", None)]),
        (action("select", columns=["paid", "id"]), [("paid", "paid", None), ("id", "id", None)]),
        (action("reorder", columns=["paid"]), [("paid", "paid", None), ("id", "id", None), ("who", "who", None)]),
        (
            action("cast", column="id", type="float"),
            [("id", "id", "float"), ("who", "who", None), ("paid", "paid", None)],
        ),
        (action("cast", column="who", type="int"), None),
        (action("filter", where="id > 1"), None),
        (action("sort", by=["id"]), None),
        (action("derive", column="x", expr="id"), None),
    ],
    ids=str,
)
def test_only_actions_on_columns_are_projections(one: Transform, expected: Any):
    assert projection(one, DOC) == expected


def test_projections_follow_on_each_other():
    doc = through(DOC, action("rename", column="who", to="name"))
    doc = through(doc, action("cast", column="id", type="text"))
    doc = through(doc, action("rename", column="name", to="who"))
    doc = through(doc, action("reorder", columns=["who"]))
    assert doc.projection == [("who", "who", None), ("id", "id", "text"), ("paid", "paid", None)]


def test_a_second_cast_of_a_column_is_written():
    doc = through(DOC, action("cast", column="id", type="float"))
    assert projection(action("cast", column="id", type="text"), doc) is None
