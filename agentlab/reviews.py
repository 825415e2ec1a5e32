"""Reviews: what a run asks a person, kept in the catalog until there is an answer. No answer means no."""

from __future__ import annotations

from agentlab.catalog import Catalog
from agentlab.entries import Entries
from agentlab.errors import Conflict, LabError
from agentlab.events import Event
from agentlab.plan import Plan
from agentlab.runs import Review


def versions(entries: Entries, plan: Plan) -> dict[str, int]:
    """The current versions of the tables that a plan names."""
    names = {name for action in plan.actions for name in action.references("table", "new_table")}
    return {name: entry.n for name in sorted(names) if (entry := entries.find("table", name))}


def ask(catalog: Catalog, review: Review) -> Review:
    """Put a review to a person; the one that there is already, with its answer, if it was asked before.

    Conflict when it was answered, but a table has changed since it was asked: the answer was about something else.
    """
    if entry := catalog.find("review", review.run):
        known = Review.model_validate(entry.doc)
        if known.answer and known.versions != review.versions:
            raise Conflict(_moved(known, review))
        return known
    draft = catalog.draft(f"{review.run}-review")
    draft.put("review", review.run, review)
    draft.commit()
    body = {"reasons": review.reasons, "preview": review.preview}
    catalog.emit(Event(type="review-asked", subject=review.run, run=review.run, body=body))
    return review


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
    draft = catalog.draft(f"{run}-answer")
    draft.put("review", run, answered)
    draft.commit()
    catalog.emit(Event(type="review-answered", subject=run, run=run, body={"answer": yes, "by": by}))
    return answered


def answer_of(catalog: Catalog, run: str) -> bool | None:
    """What a person has said to a run; None if nobody was asked, or hasn't answered yet."""
    entry = catalog.find("review", run)
    return Review.model_validate(entry.doc).answer if entry else None


def _moved(known: Review, review: Review) -> str:
    tables = sorted(known.versions.keys() | review.versions.keys())
    changed = [name for name in tables if known.versions.get(name) != review.versions.get(name)]
    why = f"{', '.join(changed)} changed after run {known.run} asked"
    return f"{why}; the answer doesn't count, give the intent again"
