"""Reviews: what a run asks a person, kept in the catalog until there is an answer. No answer means no."""

from __future__ import annotations

import re
from typing import Any

from agentlab.actions import Action, Resume, Schedule
from agentlab.catalog import Catalog
from agentlab.entries import Entries
from agentlab.errors import Conflict, LabError
from agentlab.events import Event, EventType
from agentlab.plan import Plan
from agentlab.runs import Review, Reviews


def versions(entries: Entries, plan: Plan) -> dict[str, int]:
    """The current versions of the tables that a plan names."""
    names = {name for action in plan.actions for name in action.references("table", "new_table")}
    return {name: entry.n for name in sorted(names) if (entry := entries.find("table", name))}


def ask(catalog: Catalog, review: Review) -> Review:
    """Put a review to a person; the one that there is already, with its answer, if the same was asked before.

    When the reasons or what the run would do have changed since, an answer was about something else: it is asked anew.
    Conflict when it was answered, but a table has changed since it was asked.
    """
    if entry := catalog.find("review", review.run):
        known = Review.model_validate(entry.doc)
        if known.answer and known.versions != review.versions:
            raise Conflict(_moved(known, review))
        if known.answer is False or _matter(known) == _matter(review):
            return known
        review = review.model_copy(update={"asked": known.asked + 1})
    draft = catalog.draft(f"{_key(review)}-review")
    draft.put("review", review.run, review)
    draft.commit()
    body = {"reasons": review.reasons, "preview": review.preview}
    catalog.emit(_event(review, "review-asked", body))
    return review


def _matter(review: Review) -> tuple[list[str], list[tuple[str, str]]]:
    """What a person is asked, without what differs each time that it is tried: sizes of files, times, moments."""
    steps = zip(Plan.from_json(review.plan).actions, review.preview, strict=True)
    return review.reasons, [(str(action), _SIZE.sub("", line)) for action, line in steps if not _measures(action)]


_SIZE = re.compile(r"[\d,]+ bytes")


def _measures(action: Action) -> bool:
    return action.agent == "optimization" or isinstance(action, Resume | Schedule)


def _key(review: Review) -> str:
    """What the ids of a review's commits and events begin with: one for each time that the run asks."""
    return f"{review.run}-{review.asked}" if review.asked > 1 else review.run


def _event(review: Review, type: EventType, body: dict[str, Any]) -> Event:
    key = f"{_key(review)}/{type}/{review.run}"
    return Event(type=type, subject=review.run, run=review.run, body=body, id=key)


def answer(catalog: Catalog, run: str, yes: bool, by: str) -> Review:
    """Write the answer down; LabError if there is another one already, or nothing was asked."""
    entry = catalog.find("review", run)
    if entry is None:
        raise LabError(f"run {run} has asked nothing")
    review = Review.model_validate(entry.doc)
    if review.answer is yes:
        return review
    if review.answer is not None:
        raise LabError(f"run {run} has its answer already: {'yes' if review.answer else 'no'}, by {review.by}")
    answered = review.model_copy(update={"answer": yes, "by": by})
    draft = catalog.draft(f"{_key(answered)}-answer")
    draft.put("review", run, answered)
    draft.commit()
    catalog.emit(_event(answered, "review-answered", {"answer": yes, "by": by}))
    return answered


def answer_of(catalog: Catalog, run: str) -> bool | None:
    """What a person has said to a run; None if nobody was asked, or hasn't answered yet."""
    entry = catalog.find("review", run)
    return Review.model_validate(entry.doc).answer if entry else None


def waiting(catalog: Catalog) -> Reviews:
    """The reviews whose runs wait for an answer, the oldest first."""
    asked = [Review.model_validate(entry.doc) for entry in catalog.entries("review")]
    return Reviews(review for review in asked if review.answer is None and _waits(catalog, review.run))


def _waits(catalog: Catalog, run: str) -> bool:
    return catalog.run(run).status == "approval"


def _moved(known: Review, review: Review) -> str:
    tables = sorted(known.versions.keys() | review.versions.keys())
    changed = [name for name in tables if known.versions.get(name) != review.versions.get(name)]
    why = f"{', '.join(changed)} changed after run {known.run} asked"
    return f"{why}; the answer doesn't count, give the intent again"
