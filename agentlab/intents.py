"""What may be said to a lab: the check that every door to it makes before a run begins."""

from __future__ import annotations

from agentlab.errors import PlanError

#: An intent is a sentence or a few, in characters; a longer one is a document.
LONGEST = 4_000


def check_intent(said: object) -> str:
    """An intent, as it came. PlanError if it isn't text, is empty, isn't valid UTF-8, or is too long.

    >>> check_intent("rename id to order_id")
    'rename id to order_id'
    >>> check_intent(5)
    Traceback (most recent call last):
    agentlab.errors.PlanError: an intent is text, not 5 (int); ...
    """
    if not isinstance(said, str):
        raise PlanError(f"an intent is text, not {repr(said)[:80]} ({type(said).__name__}); say what should happen")
    if not said.strip():
        raise PlanError(
            f"the intent is empty ({said[:20]!r}); say what should happen, such as 'rename customer_id to cust_id'"
        )
    if len(said) > LONGEST:
        raise PlanError(
            f"the intent has {len(said):,} characters ({said[:40]!r}...); at most {LONGEST:,} are read: say it in short"
        )
    try:
        said.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise PlanError(f"the intent isn't UTF-8 text: {said[:80]!a}, at character {fault.start + 1}") from fault
    return said
