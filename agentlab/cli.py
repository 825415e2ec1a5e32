"""The command line. Each command opens the lab, does one thing and says what became of it.

Exit codes: 0 done, 1 an error, 2 wrong usage, 3 an approval waits, 4 a question or a refusal came back,
130 interrupted. With `--json` a command prints exactly one JSON object on stdout and nothing else. An error is one
line on stderr.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from agentlab import __version__
from agentlab.actions import ROLES
from agentlab.errors import AgentlabError, LabError, PlanError, unknown
from agentlab.intents import check_intent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from agentlab.display import Progress
    from agentlab.evaluation import Judged
    from agentlab.lab import Lab
    from agentlab.runs import Review, RunResult

#: What a run's or a pipeline's status is to the shell.
EXITS = {"done": 0, "undone": 0, "failed": 1, "stopped": 1, "approval": 3, "clarify": 4, "refuse": 4}


#: How wide the lists are that go to a file or a pipe, in characters: nothing is cut there.
WIDE = 4_000

#: Where a command's wish for JSON is noted, so that an error can be told in JSON, too.
_JSON = "agentlab.json"


def _wished(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.find_root().meta[_JSON] = True
    return value


class _Commands(TyperGroup):
    """Turns whatever goes wrong into one line on stderr, and with `--json` an object on stdout, and exit code 1."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        # Libraries' warnings are no lines of ours; what matters of them is in our errors.
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
        try:
            return super().invoke(ctx)
        except (AgentlabError, OSError, sqlite3.Error, KeyboardInterrupt) as fault:
            if isinstance(fault, BrokenPipeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(1) from fault
            _fail(fault, bool(ctx.meta.get(_JSON)))
            raise typer.Exit(130 if isinstance(fault, KeyboardInterrupt) else 1) from fault


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Plain English in, a checked and undoable data pipeline out.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 an approval waits, 4 a question or a refusal came back, "
    "130 interrupted.",
)
pipelines = typer.Typer(no_args_is_help=True, help="Pipelines: files of sentences.")
sources = typer.Typer(invoke_without_command=True, help="The registered sources; `sources add` registers one.")
app.add_typer(pipelines, name="pipeline")
app.add_typer(sources, name="sources")

Folder = Annotated[Path, typer.Option("--lab", envvar="AGENTLAB_LAB", help="the lab's folder")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else", callback=_wished)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="approve in advance what would wait for approval")]
Named = Annotated[
    str | None, typer.Option("--model", help="a checkpoint's folder, a hub id or a URL", show_default="offline")
]
Role = Annotated[
    str | None, typer.Option("--agent", help=f"whose authority it has: {', '.join(ROLES)}", show_default="any")
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine", help="duckdb, spark, local[2] or spark://host:port", show_default="AGENTLAB_ENGINE, or duckdb"
    ),
]
HERE = Path("lab")


def main() -> None:
    """The program `agentlab`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="agentlab")


@app.command()
def run(
    intent: str,
    lab: Folder = HERE,
    agent: Role = None,
    model: Named = None,
    yes: Yes = False,
    as_json: Json = False,
    engine: Engine = None,
) -> None:
    """Plan an intent, check the plan, carry it out."""
    said, role = check_intent(intent), _role(agent)
    with _opened(lab, model, engine=engine) as opened, _progress(as_json) as progress:
        result = opened.run(said, agent=role, approve=_answer(yes, as_json, progress), on_event=progress.hear)
    _show_run(result, as_json)


@app.command()
def plan(
    intent: str,
    lab: Folder = HERE,
    agent: Role = None,
    model: Named = None,
    preview: Annotated[bool, typer.Option("--preview", help="try it, too, and throw away what it makes")] = False,
    as_json: Json = False,
    engine: Engine = None,
) -> None:
    """Show the plan that an intent becomes; change nothing."""
    said, role = check_intent(intent), _role(agent)
    with _opened(lab, model, existing=True, engine=engine) as opened:
        made = opened.plan(said, agent=role)
        tried = opened.preview(made, agent=role) if preview and made.status == "act" else None
    calls = [{"action": call["name"], "arguments": call["arguments"]} for call in made.to_calls()]
    told: dict[str, Any] = {"status": made.status, "plan": calls, "agents": made.agents, "confidence": made.confidence}
    told |= {"breaks": list(made.breaks)} if made.breaks else {}
    told |= {"preview": tried.to_dict()} if tried else {}
    _say(
        {**told, "model": made.origin.model, "plan_ms": made.origin.milliseconds},
        as_json,
        lambda d: d.terminal.lines(str(tried).splitlines()) if tried else d.terminal.plan(made),
    )
    raise typer.Exit(EXITS.get(made.status, 0))


@app.command()
def undo(run: str, lab: Folder = HERE, as_json: Json = False) -> None:
    """Take back all that a run did: data, layouts, schedules."""
    with _opened(lab, existing=True) as opened:
        lines = list(opened.undo(run))
    _say({"run": run, "status": "undone", "undone": lines}, as_json, lambda d: d.terminal.lines(lines))


@app.command()
def approve(run: str, lab: Folder = HERE, as_json: Json = False, engine: Engine = None) -> None:
    """Say yes to a run that waits for approval; it goes on."""
    with _opened(lab, existing=True, engine=engine) as opened:
        result = opened.approve(run)
    _show_run(result, as_json)


@app.command()
def reject(run: str, lab: Folder = HERE, as_json: Json = False) -> None:
    """Say no to a run that waits for approval; it ends."""
    with _opened(lab, existing=True) as opened:
        result = opened.reject(run)
    _say(result.to_dict(), as_json, lambda d: d.terminal.run(result))


@app.command()
def history(
    lab: Folder = HERE, limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 20, as_json: Json = False
) -> None:
    """The runs, newest first."""
    with _opened(lab, existing=True) as opened:
        runs = list(opened.history(limit))
    lines = [(r.id, r.status, r.agent or "", r.started[:19].replace("T", " "), r.intent) for r in runs]
    columns = ("run", "status", "agent", "began (UTC)", "intent")
    shown = [row.model_dump(mode="json", exclude={"plan"}) for row in runs]
    _say({"runs": shown}, as_json, lambda d: d.terminal.listing(columns, lines))


@pipelines.command("run")
def run_pipeline(
    file: Path,
    lab: Folder = HERE,
    model: Named = None,
    yes: Yes = False,
    as_json: Json = False,
    engine: Engine = None,
) -> None:
    """Carry out a file of sentences, each when the event that it waits for has come."""
    if not (lab / "catalog.sqlite").exists():
        from agentlab.pipelines import load

        load(file)
    with _opened(lab, model, engine=engine) as opened, _progress(as_json, sentences=True) as progress:
        result = opened.pipeline(file, approve=_answer(yes, as_json, progress), on_event=progress.hear)
    _say(result.to_dict(), as_json, lambda d: d.terminal.pipeline(result))
    if EXITS[result.status] == 1 and not as_json:
        _fail(LabError(f"{result.name}: {result.message}"), as_json)
    raise typer.Exit(EXITS[result.status])


@sources.callback()
def list_sources(ctx: typer.Context, lab: Folder = HERE, as_json: Json = False) -> None:
    """The registered sources; `sources add` registers one."""
    if ctx.invoked_subcommand is not None:
        return
    with _opened(lab, existing=True) as opened:
        found = [
            {"name": name, **doc.model_dump(mode="json", exclude_none=True)} for name, doc in _docs(opened).items()
        ]
    lines = [(doc["name"], doc["kind"], doc.get("url", ""), ", ".join(doc["resources"])) for doc in found]
    _say({"sources": found}, as_json, lambda d: d.terminal.listing(("source", "kind", "url", "resources"), lines))


@sources.command("add")
def add_source(
    name: str,
    url: Annotated[str, typer.Option(help="the API's address, such as https://api.example.com")] = "",
    resource: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH or NAME=PATH:TIME_COLUMN; the first is the main one")
    ] = None,
    token_env: Annotated[str | None, typer.Option(help="the environment variable that holds the token")] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--from", help="a YAML file of settings, for any kind of source: kind, url, resources, auth, ..."),
    ] = None,
    lab: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Register a source: a REST API by its address, or whatever a file of settings describes."""
    given = _settings(settings) if settings else {"token_env": token_env}
    given |= {"url": url} if url else {}
    given |= {"resources": dict(map(_resource, resource))} if resource else {}
    with _opened(lab) as opened:
        opened.add_source(name, **given)
        found = opened.sources()[name]
    told = {"source": name, "kind": given.get("kind", "rest"), "resources": found}
    _say(told, as_json, lambda d: d.terminal.lines([f"source {name}: {', '.join(found)}"]))


def _settings(path: Path) -> dict[str, Any]:
    """What a file says of a source; the names are those of `Lab.add_source`."""
    import yaml

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise LabError(f"{path} can't be read as YAML: {fault}") from None
    if not isinstance(read, dict) or not all(isinstance(key, str) for key in read):
        raise LabError(f"{path} must map settings to values, such as 'kind: sql' and 'driver: sqlite'")
    return read


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="where to write it")] = Path("report.html"),
    lab: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Write one HTML page of the lab: its runs, scores, checks, stores, schedules, queries."""
    from agentlab.report import write

    with _opened(lab, existing=True) as opened:
        page = write(opened, file, title=f"The lab {opened.root.name}")
    _say({"report": str(page)}, as_json, lambda d: d.terminal.lines([f"report: {page}"]))


@app.command()
def tables(name: Annotated[str | None, typer.Argument()] = None, lab: Folder = HERE, as_json: Json = False) -> None:
    """The tables; of one, its columns and first rows."""
    with _opened(lab, existing=True) as opened:
        if name is None:
            found = [_table(opened, table) for table in opened.catalog.entries("table")]
            columns = ("table", ">rows", ">columns", ">version", "run", "path")
            lines = [(t["table"], t["rows"], len(t["schema"]), t["version"], t["run"], t["path"]) for t in found]
            _say({"tables": found}, as_json, lambda d: d.terminal.listing(columns, lines))
            return
        told = {**_table(opened, opened.catalog.get("table", name)), "first": _records(opened.table(name).head(10))}
    _say(told, as_json, lambda d: d.terminal.table(told))


@app.command()
def query(
    name: str,
    sql: Annotated[str | None, typer.Argument(show_default="the saved one")] = None,
    lab: Folder = HERE,
    as_json: Json = False,
) -> None:
    """Run a saved query; with SQL, save it under the name first."""
    with _opened(lab, existing=True) as opened:
        frame = opened.query(name, sql)
        last = opened.catalog.get("query", name).doc["runs"][-1]
    told = {"query": name, "rows": len(frame), "ms": last["ms"], "layout": last["layout"]}
    shown = _records(frame.head(40))
    words = f"{len(frame):,} rows in {last['ms']:.1f} ms" + (
        f", from the layout {last['layout']}" if last["layout"] else ""
    )
    _say({**told, "result": _records(frame)} if as_json else told, as_json, lambda d: d.terminal.answer(shown, words))


@app.command()
def lineage(
    column: Annotated[str, typer.Argument(metavar="TABLE.COLUMN")], lab: Folder = HERE, as_json: Json = False
) -> None:
    """Where a column comes from: every version, action and sentence behind it, back to the source."""
    table, _, name = column.rpartition(".")
    if not table:
        raise PlanError(f"{column!r} names no column of a table; write TABLE.COLUMN, such as staging.orders.email")
    with _opened(lab, existing=True) as opened:
        steps = list(opened.lineage(table, name))
    told = {"table": table, "column": name, "steps": [step.model_dump(mode="json") for step in steps]}
    _say(told, as_json, lambda d: d.terminal.lineage(steps))


@app.command()
def events(
    run: Annotated[str | None, typer.Option(help="only those of this run")] = None,
    after: Annotated[int, typer.Option(help="only those after this number")] = 0,
    lab: Folder = HERE,
    as_json: Json = False,
) -> None:
    """What has happened, oldest first."""
    with _opened(lab, existing=True) as opened:
        if run is not None:
            opened.catalog.run(run)
        found = [event for event in opened.events(run) if event.seq > after]
    _say({"events": [event.model_dump() for event in found]}, as_json, lambda d: d.terminal.events(found))


@app.command()
def retention(
    enforce: Annotated[bool, typer.Option("--enforce", help="let the rows go that are too old")] = False,
    lab: Folder = HERE,
    as_json: Json = False,
) -> None:
    """What is kept how long, and how many rows are too old now; with --enforce they go, a run for each rule."""
    with _opened(lab, existing=True) as opened:
        results = opened.enforce() if enforce else []
        rules = opened.retention()
    told = {"rules": [rule.model_dump() for rule in rules], "runs": [result.to_dict() for result in results]}
    lines = [str(result) for result in results] or [f"{rule}: {rule.matching:,} rows now" for rule in rules]
    _say(told, as_json, lambda d: d.terminal.lines(lines or ["no rule, or no row is too old"]))
    raise typer.Exit(1 if any(result.status == "failed" for result in results) else 0)


@app.command()
def serve(
    lab: Folder = HERE,
    host: Annotated[str, typer.Option(help="where to listen; anything but loopback lets others in")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free one")] = 8765,
    model: Named = None,
    engine: Engine = None,
) -> None:
    """The lab over HTTP, with its schedules kept, until Ctrl-C."""
    from agentlab.serve import serve as keep_serving

    with _opened(lab, model, existing=True, engine=engine) as opened:
        keep_serving(opened, host, port)


@app.command()
def demo(
    lab: Folder = Path("demo-lab"),
    ask: Annotated[bool, typer.Option("--ask", help="ask at the terminal before rows leave the table")] = False,
    model: Named = None,
) -> None:
    """The whole story on a real API: pull, judge, mend, derive, publish, schedule, tune; then a report page."""
    from agentlab.story import tell

    raise typer.Exit(tell(lab, model=model, ask=ask))


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="cases, JSONL; of a folder all such files")],
    agent: Annotated[
        str | None, typer.Option("--agent", help="only the cases of this agent, or of routing", show_default="all")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="as elsewhere; or 'scripted': each case's own plan", show_default="offline"),
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="solved intents, JSONL; a checkpoint is shown those most like a case's")
    ] = None,
    shots: Annotated[int, typer.Option(min=1, help="how many of them")] = 4,
    as_json: Json = False,
) -> None:
    """Carry out cases, each in a fresh lab, from the sentence to the end state; say how many hold.

    It ends with 0 whatever the share is, and with 2 where a case isn't of the form.
    """
    from agentlab.evaluation import FormError
    from agentlab.evaluation import evaluate as carry_out

    try:
        planner = _shown(model, examples, shots) if examples else model
        result = carry_out(path, model=planner, agent=agent, progress=lambda *told: typer.echo(_case(*told), err=True))
    except FormError as fault:
        _fail(fault, as_json)
        raise typer.Exit(2) from fault
    typer.echo(result.to_json() if as_json else str(result))


@app.command()
def version() -> None:
    """The version of agentlab."""
    typer.echo(__version__)


# How commands open a lab, ask and answer.


def _opened(folder: Path, model: str | None = None, existing: bool = False, engine: str | None = None) -> Lab:
    """The lab, with the engine that is named, or by AGENTLAB_ENGINE, so that what a killed run left is its, too."""
    if existing and not (folder / "catalog.sqlite").exists():
        raise LabError(
            f"there is no lab in {folder}; name it with --lab or AGENTLAB_LAB, or begin one: agentlab sources add"
        )
    from agentlab.lab import Lab

    opened = Lab(folder, model=model, engine=engine or os.environ.get("AGENTLAB_ENGINE") or "duckdb")
    for run in (opened.catalog.run(result.run) for result in opened.recovered):
        if run.ended:
            typer.echo(f"finished run {run.id}, which a killed process left: {run.status}", err=True)
    return opened


def _role(name: str | None) -> Any:
    if name is not None and name not in ROLES:
        raise PlanError(unknown("agent", name, ROLES))
    return name


def _answer(yes: bool, as_json: bool, progress: Progress) -> Callable[[Review], bool] | bool | None:
    """Who answers reviews: `--yes`, the person at the terminal, or nobody yet."""
    if yes:
        return True
    return progress.ask if not as_json and sys.stdin.isatty() and sys.stdout.isatty() else None


def _progress(silent: bool, sentences: bool = False) -> Progress:
    from agentlab.display import Progress

    return Progress(silent=silent, sentences=sentences)


def _resource(text: str) -> tuple[str, dict[str, Any]]:
    """`orders=/orders:order_date` as a resource's name and document."""
    name, _, where = text.partition("=")
    path, _, time_column = where.partition(":")
    if not name or not path.startswith("/"):
        raise LabError(f"{text!r} is no resource; write NAME=PATH, such as orders=/orders or orders=/orders:order_date")
    return name, {"path": path, **({"time_column": time_column} if time_column else {})}


def _table(lab: Lab, entry: Any) -> dict[str, Any]:
    keep = ("path", "schema", "rows", "bytes", "source")
    return {"table": entry.name, "version": entry.n, "run": entry.run, **{k: entry.doc.get(k) for k in keep}}


def _shown(name: str | None, examples: Path, shots: int) -> Any:
    """The checkpoint, asked with solved intents before each new one."""
    from agentlab.fewshot import ToolsWithExamples
    from agentlab.models import load
    from agentlab.prompts import Tools

    model: Any = load(name)
    if not isinstance(getattr(model, "rendering", None), Tools):
        raise LabError("--examples are for a checkpoint that is asked with tools, such as Qwen's: name it with --model")
    model.rendering = ToolsWithExamples.read(examples, shots)
    return model


def _case(case: Judged, number: int, many: int) -> str:
    """A line of progress."""
    ended = {True: "passed", False: "failed", None: "skipped"}[case.passed]
    return f"{number}/{many} {ended} {case.id}" + (f": {case.why}" if case.why else "")


def _records(frame: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso"))
    return found


def _docs(lab: Lab) -> dict[str, Any]:
    from agentlab.sources import read_doc

    return {entry.name: read_doc(entry.doc) for entry in lab.catalog.entries("source")}


# How commands speak.


def _show_run(result: RunResult, as_json: bool) -> None:
    if result.status == "failed" and not as_json:
        _fail(LabError(result.message), as_json)
    else:
        _say(result.to_dict(), as_json, lambda d: d.terminal.run(result))
    raise typer.Exit(EXITS[result.status])


def _say(told: Mapping[str, Any], as_json: bool, render: Callable[[Any], RenderableType]) -> None:
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, default=str))
        return
    from rich.console import Console

    from agentlab import display

    Console(highlight=False, width=None if sys.stdout.isatty() else WIDE).print(render(display))


def _fail(fault: BaseException, as_json: bool) -> None:
    known = str(fault) or ("interrupted" if isinstance(fault, KeyboardInterrupt) else type(fault).__name__)
    message = "; ".join(line.strip() for line in known.splitlines() if line.strip())
    if as_json:
        typer.echo(json.dumps({"error": {"type": type(fault).__name__, "message": message}}, ensure_ascii=False))
    typer.echo(f"error: {message}", err=True)


if __name__ == "__main__":
    main()
