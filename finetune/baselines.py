"""Planners to be beaten: the nearest known phrasing, here, and keywords (`keywords.py`). The product uses neither.

Both see what the offline model sees: the linker's marks, the catalog, the role. What they leave out, `completion` fills in.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_matrix

from agentlab.actions import of
from agentlab.completion import complete
from agentlab.errors import PlanError
from agentlab.linking import Linked
from agentlab.plan import Call, Origin, Plan
from agentlab.prompts import Ask
from agentlab.slots import decode, sighted
from agentlab.view import View
from finetune.marking import Unsayable
from finetune.written import Request, corpus, shown, spelt

NEAREST = 20
SLOT = re.compile(r"<[a-z]\d+>")
#: A word that is a name, with its mark: "price<w3><c0>" is `<c0>`, but "price<w3> ~<c0>" may be no column.
NAME = re.compile(r"[\w.'’-]+<w\d+>(?=<[ctsroqkfpv]\d+>)")
_TERM = re.compile(r"<[a-z]\d+>|[^\W\d_]+|[;?]")
#: What an answer that doesn't fit its intent raises while it is read.
_UNREADABLE = (PlanError, LookupError, ValueError, AttributeError, TypeError, StopIteration)
#: What a baseline plans when it knows nothing.
ASK: Call = {"name": "clarify", "arguments": {"question": "What exactly should change, and how?"}}


class Nearest:
    """Answers as the most similar phrasing of the training corpus is answered, on the intent's own names and values.

    Similar: the cosine of TF-IDF (Salton and Buckley 1988) over words and pairs of words, names being their placeholders.
    The answer's placeholders are taken over as they are: the first column for the first column. One that names what the
    intent lacks, or that can't be read, gives way to the next nearest.
    """

    name = "nearest"

    def __init__(self, requests: list[Request] | None = None) -> None:
        known = list(_phrasings(corpus() if requests is None else requests))
        counted = [Counter(terms(text)) for text, _ in known]
        self._answers = [answer for _, answer in known]
        self._actions = [{line.split(":", 1)[0] for line in answer.split("\n")} for answer in self._answers]
        self._column = {term: n for n, term in enumerate(dict.fromkeys(term for terms in counted for term in terms))}
        seen = Counter(term for terms in counted for term in terms)
        self._idf = np.array([math.log((1 + len(known)) / (1 + seen[term])) + 1 for term in self._column])
        self._known = self._matrix(counted)

    def plan(self, ask: Ask) -> Plan:
        """The plan of the nearest phrasing that fits, of the next one after a fault; a question where none does."""
        linked, view = sighted(ask.intent, ask.view, ask.role)
        origin = Origin(intent=ask.intent, model=self.name)
        skip = bool(ask.fault)
        for n, likeness in self._nearest(linked.text, set(of(ask.role))):
            plan = _read(self._answers[n], linked, view, likeness, origin)
            if plan and not skip:
                return plan
            skip = skip and plan is None
        return Plan.from_calls([ASK], 0.0, origin)

    def _nearest(self, text: str, allowed: set[str]) -> Iterator[tuple[int, float]]:
        """The most similar phrasings whose actions are allowed, nearest first, and how similar each is."""
        likeness = (self._known @ self._matrix([Counter(terms(text))]).T).toarray()[:, 0]
        fitting = (int(n) for n in np.argsort(-likeness, kind="stable") if self._actions[n] <= allowed)
        for _, n in zip(range(NEAREST), fitting, strict=False):
            yield n, min(1.0, float(likeness[n]))

    def _matrix(self, counted: Sequence[Counter[str]]) -> csr_matrix:
        """A row of length 1 for each text: how often each known term occurs, the rarer ones counting more."""
        cells = [
            (n, self._column[t], times)
            for n, terms in enumerate(counted)
            for t, times in terms.items()
            if t in self._column
        ]
        rows, columns, times = (np.array(part) for part in (zip(*cells, strict=True) if cells else ([], [], [])))
        weights = times * self._idf[columns.astype(int)]
        length = np.sqrt(np.bincount(rows.astype(int), weights**2, len(counted)))
        scaled = weights / length[rows.astype(int)]
        return csr_matrix((scaled, (rows.astype(int), columns.astype(int))), (len(counted), len(self._column)))


def _phrasings(requests: list[Request]) -> Iterator[tuple[str, str]]:
    """The marked text and the answer of each request whose answer names only what its text does."""
    views: dict[int, View] = {}
    for request in requests:
        view = views.setdefault(id(request.lab), request.lab.view())
        try:
            _, answer = shown(request, spelt(request), view)
        except (PlanError, Unsayable):
            continue
        text = sighted(request.text, view, None)[0].text
        if set(SLOT.findall(answer)) <= set(SLOT.findall(text)):
            yield text, answer


def terms(text: str) -> list[str]:
    """The words and pairs of words of a marked text; names and values are their placeholders.

    >>> terms("sort<w0> by price<w1><c0>")
    ['sort', 'by', '<c0>', 'sort by', 'by <c0>']
    """
    words = [term for term in _TERM.findall(NAME.sub("", text)) if not term.startswith("<w")]
    return [*words, *map(" ".join, pairwise(words))]


def _read(answer: str, linked: Linked, view: View, likeness: float, origin: Origin) -> Plan | None:
    """The plan that an answer is for this intent; None where it is none."""
    if not set(SLOT.findall(answer)) <= set(SLOT.findall(linked.text)):
        return None
    try:
        return Plan.from_calls(complete(decode(answer, linked), linked, view), likeness, origin)
    except _UNREADABLE:
        return None
