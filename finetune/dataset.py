"""The written requests as a Hugging Face data set, what is said too much alike in them, and their numbers.

    python -m finetune.dataset OUT                   # then datasets.load_dataset("OUT")
    python -m finetune.dataset --check               # near-duplicates, and a table of the writers
    python -m finetune.dataset --stats corpus.svg

Only requests that fit their labs are taken. Of the cases that plans are judged by, only ids are ever printed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import sqlglot
from sqlglot import exp

from agentlab.actions import ACTIONS
from agentlab.completion import complete
from agentlab.linking import Linked
from agentlab.plan import Plan
from finetune.examples import held_out
from finetune.written import FOLDER, Request, corpus

CASES = FOLDER.parent.parent / "cases"
CARD = FOLDER.parent / "README.md"
LICENSE = "Apache-2.0"
SPLITS = ("train", "validation")

#: Each writer's voice.
VOICES = {
    "nora": "careful analyst",
    "otis": "engineer, symbols",
    "petra": "busy manager",
    "quin": "casual chat",
    "rosa": "terse, telegraphic",
    "stef": "wordy, formal",
    "tariq": "non-native",
    "uma": "questions",
    "vik": "typos, phone",
    "wren": "passive, specifications",
    "xena": "spoken, transcribed",
    "yann": "domain expert",
    "zoe": "intern, describes",
    "abel": "product owner",
    "bea": "business analyst in chat",
    "cyr": "operations admin",
    "ada": "ten people of an office, things unclear and their clear twins",
    "boris": "ten people of operations, things unclear and their clear twins",
    "chen": "ten people, something loaded and then worked on",
    "dora": "ten people, ingestion",
    "emil": "ten people, formulas and conditions",
    "faye": "ten people, several actions",
    "gita": "ten people, quality, storage, tuning",
    "hugo": "twelve people, corrections and asides",
    "ivan": "ten people, unclear in one thing, and clear twins",
    "jada": "ten people, several actions",
    "lena": "ten people, everyday verbs",
    "milo": "ten people, amounts left open, and clear twins",
    "nils": "ten people, times and periods",
    "dee": "quality and tuning, many voices",
    "eli": "abstentions and near misses, many voices",
    "fred": "ten people, conditions and reasons first",
    "gus": "ten people, formula-like",
    "hedy": "ten people, things described instead of named",
    "iris": "plain and everyday",
    "jon": "ten people, chains of steps",
    "kim": "a notebook's cell, every action",
    "arlo": "forty practical people of food, farms, water and waste",
    "bina": "forty non-native speakers of ten languages",
    "carl": "forty people of banks, law and offices, precise",
    "dina": "forty engineers and product people in chat",
    "edda": "forty people of culture and travel, questions",
    "finn": "forty foremen and technicians",
    "gwen": "forty people who know nothing of data",
    "hank": "forty scientists in notebooks",
    "ines": "forty business users, plain",
    "joel": "forty data engineers, plain",
    "kato": "forty researchers, nurses, teachers, plain",
    "luca": "forty office people, plain",
    "mina": "forty people, close pairs that differ",
    "noel": "forty people, often several actions",
    "olga": "forty people, transformation, quality, ingestion",
    "paul": "forty people, things unclear and their clear twins",
    "sven": "forty people, storage and optimization",
    "tess": "forty people, things unclear and loosely said twins",
    "ugo": "forty people, often several actions, plain",
}

#: Texts are near-duplicates when of their runs of so many characters this share is common to both.
SHINGLE, ALIKE = 5, 0.7

_HEADER = f"""---
license: {LICENSE.lower()}
language: [en]
task_categories: [text-generation]
tags: [tool-use, data-engineering, synthetic]
configs:
- config_name: default
  data_files:
  - {{split: train, path: train.jsonl}}
  - {{split: validation, path: validation.jsonl}}
---

"""


# ---------------------------------------------------------------- the data set


def plan_of(request: Request) -> Plan:
    """The whole plan that a writer means. PlanError where it is none; the requests of `written.corpus` all have one."""
    calls = [{"name": call["name"], "arguments": _meant(call["arguments"])} for call in request.calls]
    return Plan.from_calls(complete(calls, Linked(request.text), request.lab.view()))


def _meant(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A condition that is `NOT (x)` as a whole takes rows out for which x is true, as `agentlab.slots` reads it, too."""
    where = arguments.get("where")
    tree = sqlglot.parse_one(where, dialect="duckdb") if where else None
    if isinstance(tree, exp.Not) and isinstance(tree.this, exp.Paren):
        return {**arguments, "where": f"{tree.this.sql('duckdb')} IS NOT TRUE"}
    return dict(arguments)


def row(request: Request) -> dict[str, Any]:
    """One request as a row."""
    plan = plan_of(request)
    return {
        "id": id_of(request),
        "writer": request.writer.removesuffix("*"),
        "reworded": request.writer.endswith("*"),
        "voice": "reworded by another" if request.writer.endswith("*") else VOICES.get(request.writer, ""),
        "trade": trade(request),
        "agents": list(plan.agents),
        "actions": 0 if plan.abstention else len(plan.actions),
        "status": plan.status,
        "intent": request.text,
        "template": template(request),
        "catalog": json.dumps(catalog(request), ensure_ascii=False),
        "calls": json.dumps(plan.to_calls(), ensure_ascii=False),
        "license": LICENSE,
    }


def id_of(request: Request) -> str:
    """The writer and the line."""
    return f"{request.writer}:{request.line}"


def trade(request: Request) -> str:
    """The name of the request's lab."""
    return request.lab.name.partition(": ")[2] or request.lab.name


def template(request: Request) -> str:
    """The text with its braces: `{value|how it is said}`."""
    told = []
    for part in request.parts:
        if part.value is None:
            told.append(part.said)
        else:
            told.append(f"{{{part.value}}}" if part.value == part.said else f"{{{part.value}|{part.said}}}")
    return "".join(told)


def catalog(request: Request) -> dict[str, Any]:
    """The lab, without what it has none of."""
    lab = request.lab
    parts = {
        **{"tables": lab.tables, "values": {t: v for t, v in lab.values.items() if v}, "sources": lab.sources},
        **{"stores": lab.stores, "queries": lab.queries, "pipelines": lab.pipelines, "schedules": lab.schedules},
        **{"files": lab.files, "snapshots": lab.snapshots},
    }
    return {name: part for name, part in parts.items() if part}


def split_of(request: Request) -> str:
    """The split that a request's whole lab is in."""
    return "validation" if held_out(request) else "train"


def write(requests: Iterable[Request], out: Path) -> dict[str, int]:
    """The folder that `datasets.load_dataset` reads; how many rows each split has."""
    out.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    for request in requests:
        lines[split_of(request)].append(json.dumps(row(request), ensure_ascii=False))
    for split, told in lines.items():
        (out / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in told), encoding="utf-8")
    card = CARD.read_text(encoding="utf-8") if CARD.exists() else ""
    (out / "README.md").write_text(_HEADER + card, encoding="utf-8")
    return {split: len(told) for split, told in lines.items()}


# ---------------------------------------------------------------- near-duplicates


class Near(NamedTuple):
    """Two texts that are said much alike, by their ids, and how much."""

    one: str
    other: str
    share: float


def near(texts: Mapping[str, str], least: float = ALIKE) -> list[Near]:
    """All pairs whose sets of shingles have a Jaccard index of at least that, the most alike first.

    Two such sets share one of the rarest shingles of each, so only those are looked up: prefix filtering, as in Bayardo,
    Ma and Srikant, Scaling up all pairs similarity search, 2007.

    >>> near({"a": "keep the paid orders only", "b": "Keep the paid orders  only!", "c": "sort by price"})[0][:2]
    ('a', 'b')
    """
    sets = {key: shingles(text) for key, text in texts.items()}
    often = Counter(shingle for found in sets.values() for shingle in found)
    index: dict[str, list[str]] = {}
    pairs: list[Near] = []
    for key in sorted(sets, key=lambda k: len(sets[k])):
        mine = sorted(sets[key], key=lambda s: (often[s], s))
        rarest = mine[: len(mine) - ceil(least * len(mine)) + 1]
        for other in {o for shingle in rarest for o in index.get(shingle, ())}:
            common = len(sets[key] & sets[other])
            share = common / (len(sets[key]) + len(sets[other]) - common)
            if share >= least:
                pairs.append(Near(min(key, other), max(key, other), share))
        for shingle in rarest:
            index.setdefault(shingle, []).append(key)
    return sorted(pairs, key=lambda pair: (-pair.share, pair))


def shingles(text: str) -> frozenset[str]:
    """The runs of five characters, whatever the case and the space; of a shorter text the text.

    >>> sorted(shingles("Sort  it"))
    ['ort i', 'rt it', 'sort ']
    """
    plain = " ".join(text.lower().split())
    return frozenset(plain[at : at + SHINGLE] for at in range(max(1, len(plain) - SHINGLE + 1)))


def case_texts(folder: Path = CASES) -> dict[str, str]:
    """What the cases say, by `case <file>:<id>`."""
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            case = json.loads(line) if line.strip() else {}
            if text := case.get("sentence") or case.get("intent"):
                found[f"case {path.stem}:{case.get('id', number)}"] = str(text)
    return found


def alike(requests: Sequence[Request], cases: Mapping[str, str]) -> dict[str, list[Near]]:
    """The near-duplicates by where they are: across the splits, with a case, within a writer, between writers.

    A pair can be of several sorts. Pairs of two cases aren't ours.
    """
    splits = {id_of(request): split_of(request) for request in requests}
    found: dict[str, list[Near]] = {
        "across the splits": [],
        "with a case": [],
        "within a writer": [],
        "between writers": [],
    }
    for pair in near({**{id_of(request): request.text for request in requests}, **cases}):
        ours = [key for key in pair[:2] if key in splits]
        if len(ours) == 1:
            found["with a case"].append(pair)
        if len(ours) < 2:
            continue
        same = pair.one.partition(":")[0] == pair.other.partition(":")[0]
        found["within a writer" if same else "between writers"].append(pair)
        if splits[pair.one] != splits[pair.other]:
            found["across the splits"].append(pair)
    return found


# ---------------------------------------------------------------- numbers


def delexicalised(request: Request) -> str:
    """The text with names and values replaced by their kind: what is left is how it is said."""
    return " ".join(
        "".join(p.said if p.value is None else f"<{_kind(request, p.value)}>" for p in request.parts).lower().split()
    )


def _kind(request: Request, value: str) -> str:
    lab = request.lab
    kinds: dict[str, Iterable[str]] = {
        **{"table": lab.tables, "column": [c for schema in lab.tables.values() for c in schema], "source": lab.sources},
        **{"resource": [r for known in lab.sources.values() for r in known], "store": lab.stores},
        **{
            "query": lab.queries,
            "task": [*lab.pipelines, *lab.schedules],
            "file": lab.files,
            "snapshot": lab.snapshots,
        },
    }
    for kind, known in kinds.items():
        if value in known:
            return kind
    if re.fullmatch(r"\d{4}-\d\d-\d\d.*", value):
        return "date"
    return "number" if re.fullmatch(r"-?[\d.,]+%?", value) else "value"


class Numbers(NamedTuple):
    """What is counted of some requests; the shares are of them all."""

    requests: int
    distinct: int
    trades: int
    several: float
    abstaining: float


def numbers(requests: Sequence[Request]) -> Numbers:
    """The numbers of some requests, at least one."""
    many = len(requests)
    abstaining = sum(abstains(request) for request in requests)
    return Numbers(
        requests=many,
        distinct=len({delexicalised(request) for request in requests}),
        trades=len({request.lab.name for request in requests}),
        several=sum(len(request.calls) > 1 for request in requests) / many,
        abstaining=abstaining / many,
    )


def abstains(request: Request) -> bool:
    """Whether a question or a refusal is the answer."""
    return any(call["name"] in ("clarify", "refuse") for call in request.calls)


def table(requests: Sequence[Request]) -> Iterator[str]:
    """The numbers by writer, and of all, as a table in Markdown."""
    yield "| writer | voice | requests | distinct | trades | several actions | abstentions |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for writer in dict.fromkeys(request.writer for request in requests):
        yield _line(writer, VOICES.get(writer, ""), [request for request in requests if request.writer == writer])
    yield _line("**all**", "", requests)


def _line(writer: str, voice: str, requests: Sequence[Request]) -> str:
    n = numbers(requests)
    return (
        f"| {writer} | {voice} | {n.requests:,} | {n.distinct:,} | {n.trades} | {n.several:.0%} | {n.abstaining:.0%} |"
    )


def checked(requests: Sequence[Request], cases: Mapping[str, str]) -> Iterator[str]:
    """What `--check` prints."""
    for where, pairs in alike(requests, cases).items():
        yield f"{len(pairs)} near-duplicates {where}"
        yield from (f"   {pair.one} ~ {pair.other} {pair.share:.2f}" for pair in pairs)
    yield from ("", *table(requests), "")
    lengths = Counter(0 if abstains(request) else len(request.calls) for request in requests)
    yield "by number of actions: " + ", ".join(f"{n}: {lengths[n]:,}" for n in sorted(lengths))
    splits = Counter(map(split_of, requests))
    writers = {request.writer.removesuffix("*") for request in requests}
    trades = {trade(request) for request in requests}
    told = ", ".join(f"{split} {splits[split]:,}" for split in SPLITS)
    yield f"{len(requests):,} requests by {len(writers)} writers in {len(trades)} trades; {told}"


# ---------------------------------------------------------------- a picture

_BAR, _LEFT, _WIDE = 16, 150, 380


def svg(requests: Sequence[Request]) -> str:
    """Two bar charts side by side: how often each action is asked for, and how many requests each writer wrote."""
    actions = Counter(
        dict.fromkeys(ACTIONS, 0) | Counter(call["name"] for request in requests for call in request.calls)
    )
    writers = Counter(request.writer for request in requests)
    high = 50 + _BAR * max(len(actions), len(writers))
    bars = [*_chart("requests by action", actions, 0), *_chart("requests by writer", writers, _WIDE + 20)]
    size = f'width="{2 * _WIDE + 20}" height="{high}"'
    style = 'font-family="sans-serif" font-size="11"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *bars, "</svg>", ""])


def _chart(title: str, counts: Counter[str], x: int) -> Iterator[str]:
    yield f'<text x="{x + 4}" y="18" font-size="14">{title}</text>'
    most = max(counts.values(), default=1) or 1
    for place, (name, count) in enumerate(counts.most_common()):
        y, width = 30 + place * _BAR, (_WIDE - _LEFT - 50) * count / most
        yield f'<text x="{x + _LEFT - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        yield f'<rect x="{x + _LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 4}" fill="#4477aa"/>'
        yield f'<text x="{x + _LEFT + width + 4:.1f}" y="{y + 11}">{count:,}</text>'


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="a folder for the data set")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--stats", type=Path, metavar="FILE.svg")
    options = parser.parse_args()
    if not (options.out or options.check or options.stats):
        parser.error("name a folder, or say --check or --stats")
    requests = corpus()
    if options.out:
        print(json.dumps(write(requests, options.out)))
    if options.check:
        print("\n".join(checked(requests, case_texts())))
    if options.stats:
        options.stats.write_text(svg(requests), encoding="utf-8")


if __name__ == "__main__":
    main()
