"""Few-shot by retrieval: the solved intents most like the asked one stand before it, as earlier turns of the chat.

For models that know language already and were never trained on ours. What is solved comes from a file of the user's, a
JSON object a line: `{"intent": "...", "calls": [{"name": ..., "arguments": {...}}], "lab": "..."}`. `lab`, what the lab
held, as `prompts.catalog` says it, may be left out. Grammar, tools and the reading of answers are those of `Tools`.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentlab.actions import Role, of
from agentlab.errors import LabError, PlanError
from agentlab.plan import Plan
from agentlab.prompts import Ask, Prompt, Tools, harmless, messages, tools

_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Solved:
    """An intent with its right plan. `lab` is the catalog that it was said over; empty: one like the asker's."""

    intent: str
    plan: Plan
    lab: str = ""

    def turns(self) -> list[dict[str, Any]]:
        """The user's turn, and the assistant's with its tool calls."""
        told = f"In another lab, with these\n{self.lab}\n\n{self.intent}" if self.lab else self.intent
        calls = [{"type": "function", "function": call} for call in self.plan.to_calls()]
        return [{"role": "user", "content": told}, {"role": "assistant", "content": "", "tool_calls": calls}]

    def may(self, role: Role | None) -> bool:
        """Whether an agent has every tool that the plan uses."""
        return {action.tool() for action in self.plan.actions} <= of(role).keys()

    def is_harmless(self, marks: Iterable[str]) -> bool:
        """Whether nothing in it would be read as a control token."""
        told = json.dumps(self.turns(), ensure_ascii=False)
        return harmless(told, marks) == told


class ToolsWithExamples(Tools):
    """`Tools`, with up to `shots` solved intents before the asked one, the nearest last.

    Near is the cosine of TF-IDF over words (Salton and Buckley 1988). What has no word in common with the intent, uses
    a tool that the agent lacks, or holds a control token isn't shown.
    """

    name = "tools-with-examples"

    def __init__(self, solved: Sequence[Solved], shots: int = 4) -> None:
        self.solved, self.shots = tuple(solved), shots
        counted = [Counter(_words(one.intent)) for one in self.solved]
        seen = Counter(word for words in counted for word in words)
        self._rarity = {word: math.log((1 + len(counted)) / (1 + many)) + 1 for word, many in seen.items()}
        self._holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, words in enumerate(counted):
            for word, weight in self._weighed(words).items():
                self._holders[word].append((number, weight))

    @classmethod
    def read(cls, path: str | Path, shots: int = 4) -> ToolsWithExamples:
        """With the solved intents of a JSONL file; a LabError names the line that is none."""
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise LabError(f"can't read the examples in {path}: {fault}") from fault
        return cls([_solved(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()], shots)

    def prompt(self, ask: Ask, tokenizer: Any) -> Prompt:
        """As `Tools` makes it, with the examples between the system's turn and the intent."""
        marks = tokenizer.get_added_vocab()
        system, user = messages(ask, marks)
        shown = [one for one in self.nearest(ask.intent, ask.role) if one.is_harmless(marks)][: self.shots]
        chat = [system, *(turn for one in reversed(shown) for turn in one.turns()), user]
        text = tokenizer.apply_chat_template(chat, tools=tools(ask.role), tokenize=False, add_generation_prompt=True)
        return replace(super().prompt(ask, tokenizer), text=text)

    def nearest(self, intent: str, role: Role | None = None) -> list[Solved]:
        """The solved intents most like this one that the agent may plan, the most alike first; a few more than shown.

        >>> solved = [Solved(text, Plan(actions=())) for text in ("drop the notes", "rename qty", "drop rows")]
        >>> [one.intent for one in ToolsWithExamples(solved, shots=2).nearest("please drop my notes")]
        ['drop the notes', 'drop rows']
        """
        likeness: dict[int, float] = defaultdict(float)
        for word, weight in self._weighed(Counter(_words(intent))).items():
            for number, other in self._holders.get(word, ()):
                likeness[number] += weight * other
        fitting = (number for number in likeness if self.solved[number].may(role))
        best = heapq.nsmallest(2 * self.shots, fitting, key=lambda number: (-likeness[number], number))
        return [self.solved[number] for number in best]

    def _weighed(self, words: Mapping[str, int]) -> dict[str, float]:
        weights = {word: many * self._rarity[word] for word, many in words.items() if word in self._rarity}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()}


def _words(text: str) -> Iterator[str]:
    return (match[0].lower() for match in _WORD.finditer(text))


def _solved(line: str, where: str) -> Solved:
    try:
        told = json.loads(line)
        return Solved(str(told["intent"]), Plan.from_calls(told["calls"]), str(told.get("lab", "")))
    except (ValueError, KeyError, TypeError, AttributeError, PlanError) as fault:
        raise LabError(
            f'{where} is no solved intent, such as {{"intent": "...", "calls": [...]}}: {type(fault).__name__}: {fault}'
        ) from fault
