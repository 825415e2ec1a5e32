"""The story itself, from an empty folder to a verified end state."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from agentlab import demo, report
from agentlab.actions import Pull
from agentlab.demo import SalesAPI
from agentlab.display import Progress, terminal
from agentlab.errors import LabError
from agentlab.lab import Lab
from agentlab.models import Model
from agentlab.plan import Origin, Plan
from agentlab.runs import PipelineResult, Review
from agentlab.story import pictures as draw
from agentlab.story import script
from agentlab.story.script import QUERY, SOURCE, SQL, TABLE
from agentlab.story.verify import Claim, root_of, verify

#: Says that a folder was made by the demo, so that the demo may replace it.
MARK = ".agentlab-demo"
#: How often the query is looked at before the story begins, so that it has a log.
LOOKS = 8
#: In columns, where there is no terminal to ask.
WIDTH = 110


def tell(
    folder: Path,
    *,
    model: str | Path | Model | None = None,
    ask: bool = False,
    pictures: Path | None = None,
    console: Console | None = None,
) -> int:
    """Tell the story in a fresh lab at `folder`: 0, or 1 when the end state isn't what it says.

    LabError when the folder holds something that the demo didn't make. `ask` asks at the terminal; else the demo
    approves by itself, and shows what. `pictures` is a folder for `run.svg` and `report.png`.
    """
    script.pipeline()  # Before a folder is made for nothing: outside a checkout there is no demo.
    console = console or _console()
    began = time.monotonic()
    _clear(folder)
    with demo.start() as api, Lab(folder, model=script.model(model)) as lab:
        (lab.root / MARK).write_text("The demo made this folder and may replace it.\n", encoding="utf-8")
        _open(lab, api, console)
        told = _carry_out(lab, console, ask)
        _look_back(lab, told, console)
        page = report.write(
            lab, lab.root / "report.html", _runs(told), title="From a sales API to a clean store", lineage=_traced(lab)
        )
        claims = verify(lab, told)
        code = _verdict(claims, root_of(lab) / page.name, time.monotonic() - began, console)
        if pictures is not None:
            draw.draw(told, claims, page, pictures)
    return code


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    return console


def _clear(folder: Path) -> None:
    if folder.is_dir() and (folder / MARK).exists():
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LabError(
            f"{folder} holds something that the demo didn't make; name another folder with --lab, or move it"
        )


def _open(lab: Lab, api: SalesAPI, console: Console) -> None:
    """The lab as it is when the story begins: a source, yesterday's orders, and a query that people look at."""
    console.print(Rule("The sales API and a lab", style="dim", align="left"))
    doc = api.source()
    lab.add_source(SOURCE, token=api.token, url=doc["url"], resources=doc["resources"])
    console.print(Text.assemble("source ", (SOURCE, "bold"), f" at {doc['url']}: {', '.join(doc['resources'])}"))
    pull = Pull(source=SOURCE, resource="orders", into=TABLE, order="newest", limit=2000)
    before = lab.run(Plan(actions=(pull,), origin=Origin(intent="The day before: a first look at the orders.")))
    if before.status != "done":
        raise LabError(f"the first pull failed: {before.message}")
    lab.query(QUERY, SQL)
    for _ in range(LOOKS - 1):
        lab.query(QUERY)
    runs = lab.queries()[QUERY]
    console.print(Text(f"query {QUERY}: looked at {len(runs.runs)} times, {runs.median_ms or 0:.1f} ms", "dim"))


def _carry_out(lab: Lab, console: Console, ask: bool) -> PipelineResult:
    path = script.pipeline()
    console.print(Rule(f"The pipeline {path.name}", style="dim", align="left"))
    with Progress(console, sentences=True) as progress:
        answer = progress.ask if ask else lambda review: _approved(review, progress)
        return lab.pipeline(path, approve=answer, on_event=progress.hear)


def _approved(review: Review, progress: Progress) -> bool:
    progress.console.print(terminal.review(review))
    progress.console.print(Text("  approved by the demo, since nobody sits here; --ask asks you", "bold yellow"))
    return True


def _look_back(lab: Lab, told: PipelineResult, console: Console) -> None:
    console.print(Rule("The plans", style="dim", align="left"))
    console.print(terminal.pipeline(told))
    console.print(Rule("The events", style="dim", align="left"))
    console.print(terminal.events(told.events))
    _quality(told, console)
    _places(lab, console)
    traced = _traced(lab)
    if traced:
        console.print(Rule(f"Where {traced[1]} comes from", style="dim", align="left"))
        console.print(terminal.lineage(lab.lineage(*traced)))
    _undoing(lab, told, console)


def _quality(told: PipelineResult, console: Console) -> None:
    scores = [event.body["score"] for event in told.events if event.type in ("quality-fail", "quality-pass")]
    if scores:
        console.print(Rule(f"Quality of {TABLE}, before and after", style="dim", align="left"))
        console.print(terminal.scores(scores[0], scores[-1]))


def _places(lab: Lab, console: Console) -> None:
    console.print(Rule("Where the tables are", style="dim", align="left"))
    place = root_of(lab)
    lines = [(name, doc.rows, f"{place}/{doc.path}") for name, doc in lab.tables().items()]
    for store in lab.stores().values():
        lines += [(f"{store.name}.{name}", t.rows, f"{place}/{t.parts[-1].path}") for name, t in store.tables.items()]
    console.print(terminal.listing(("table", ">rows", "files"), lines))
    moments = [(s["task"], s["when"], s["next"][0]) for s in lab.schedules()]
    if moments:
        console.print(terminal.listing(("schedule", "when", "next (UTC)"), moments))


def _undoing(lab: Lab, told: PipelineResult, console: Console) -> None:
    console.print(Rule("How to undo, newest first", style="dim", align="left"))
    for step in reversed(told.runs):
        if step.status == "done":
            console.print(Text(f"  agentlab undo {step.run} --lab {root_of(lab)}", "cyan"))
            console.print(Text(f"      {step.plan.origin.intent}", "dim"))
    console.print(Text(f"  all at once: agentlab undo {told.run} --lab {root_of(lab)}", "dim"))


def _traced(lab: Lab) -> tuple[str, str] | None:
    tables = lab.tables()
    return (TABLE, "total_revenue") if TABLE in tables and "total_revenue" in tables[TABLE].schema_ else None


def _runs(told: PipelineResult) -> list[str]:
    return [step.run for step in told.runs]


def _verdict(claims: list[Claim], page: Path, seconds: float, console: Console) -> int:
    console.print(Rule("Verified, by SQL on the files", style="dim", align="left"))
    console.print(draw.verified(claims))
    wrong = [claim for claim in claims if not claim.holds]
    for claim in wrong:
        console.print(Text(f"not as claimed: {claim.says} ({claim.found})", "bold red"))
    console.print(Text.assemble("report: ", (str(page), "bold"), f"  ({seconds:.1f} s)"))
    return 1 if wrong else 0
