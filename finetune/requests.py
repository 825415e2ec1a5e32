"""Training intents of files, sources, checks, stores' lives and limits: what their keys ask for, as in `intents.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentlab.linking import spoken
from finetune import speech
from finetune.scenes import file_name, random_value, snapshot_name
from finetune.speaking import Filled, Speaker, Unfit, call

Key = Callable[[Speaker], Filled]


def some(s: Speaker, names: Any) -> str:
    """One of what the scene has; Unfit if it has none."""
    if not names:
        raise Unfit
    return s.r.choice(list(names))


def count(s: Speaker) -> tuple[str, int]:
    """A whole number above 0, as it is said and as it is."""
    said, n = speech.number(s.r)
    if "." in n or n == "0":
        raise Unfit
    return said, int(n)


def new(s: Speaker) -> tuple[str, str]:
    """A name that no column has."""
    said, name = speech.new_name(s.r)
    if name in s.scene.view.columns():
        raise Unfit
    return said, name


# Ingestion


def load_file(*slots: str, mode: str | None = None) -> Key:
    def made(s: Speaker) -> Filled:
        path = some(s, s.scene.view.files) if s.r.random() < 0.85 else file_name(s.r)
        said = {"file": speech.file(s.r, path)}
        if path not in s.scene.view.files:
            said["file"] = s.r.choice([path, speech.quoted(s.r, path)])
        more: dict[str, Any] = {"path": path, "mode": mode}
        if "into" in slots:
            said["into"], more["into"] = new(s)
        if mode:
            if not s.scene.table.startswith("staging."):
                raise Unfit
            said["table"], more["into"] = speech.table(s.r, s.scene.table), s.scene.table
        if mode == "upsert":
            key = s.pick(lambda c: c.what == "id")
            said["key"], more["key"] = s.say(key), [key.name]
        return said, call("load_file", **more)

    return made


def sync(*slots: str) -> Key:
    def made(s: Speaker) -> Filled:
        source = some(s, s.scene.view.sources)
        resource = s.r.choice(s.scene.view.sources[source])
        said = {"source": speech.source(s.r, source), "resource": s.r.choice([resource, spoken(resource)])}
        more: dict[str, Any] = {"source": source, "resource": resource}
        if "cursor" in slots:
            said["cursor"], more["cursor"] = field(s, "date", ["updated_at", "modified", "last_changed", "created_at"])
        if "key" in slots:
            said["key"], name = field(s, "id", ["id", "record_id", "uuid", "order_no", "ref"])
            more["key"] = [name]
        return said, call("sync", **more)

    return made


def field(s: Speaker, what: str, others: list[str]) -> tuple[str, str]:
    """A column of the source: one that a table has as well, or one that no table here has."""
    if s.r.random() < 0.5:
        c = s.date_column() if what == "date" else s.pick(lambda c: c.what == "id")
        return s.say(c), c.name
    name = s.r.choice(others)
    if name in s.scene.view.columns():
        raise Unfit
    return name, name


def describe_source(s: Speaker) -> Filled:
    source = some(s, s.scene.view.sources)
    return {"source": speech.source(s.r, source)}, call("describe_source", source=source)


# Quality


def rule(name: str, pick: str = "any", many: bool = False, **fixed: Any) -> Key:
    """A check of one rule on one column or several."""

    def made(s: Speaker) -> Filled:
        kinds: dict[str, Callable[[], Any]] = {
            "any": s.pick, "number": s.number_column, "text": s.text_column, "date": s.date_column,
        }  # fmt: skip
        columns = s.several(2) if many else [kinds[pick]()]
        said = {"columns" if many else "column": s.say(*columns)}
        return said, call("check", rule=name, columns=[c.name for c in columns], **fixed)

    return made


def in_range(*ends: str) -> Key:
    def made(s: Speaker) -> Filled:
        c = s.number_column()
        numbers = sorted((speech.number(s.r) for _ in ends), key=lambda n: float(n[1]))
        said = {"column": s.say(c)} | {slot: n[0] for slot, n in zip(("n", "n2"), numbers, strict=False)}
        bounds = {end: float(n[1]) for end, n in zip(ends, numbers, strict=True)}
        return said, call("check", rule="in_range", columns=[c.name], **bounds)

    return made


def in_set(s: Speaker) -> Filled:
    c = s.text_column()
    pool = list(dict.fromkeys([*c.values, *(random_value(s.r) for _ in range(2))]))
    chosen = s.r.sample(pool, s.r.choice([2, 2, 3])) if len(pool) > 2 else pool
    quote = s.r.random() < 0.35
    told = [speech.quoted(s.r, v) if quote else v for v in chosen]
    said = ", ".join(told[:-1]) + s.r.choice([" or ", " and ", ", ", " / "]) + told[-1]
    return {"column": s.say(c), "values": said}, call("check", rule="in_set", columns=[c.name], values=chosen)


def row_count(*ends: str) -> Key:
    def made(s: Speaker) -> Filled:
        numbers = sorted((count(s) for _ in range(2 if ends == ("min", "max") else 1)), key=lambda n: n[1])
        said = {slot: n[0] for slot, n in zip(("n", "n2"), numbers, strict=False)}
        ends_ = ("min", "max") if ends == ("both",) else ends
        bounds = {end: float(numbers[min(i, len(numbers) - 1)][1]) for i, end in enumerate(ends_)}
        return said, call("check", rule="row_count", **bounds)

    return made


def fresh(s: Speaker) -> Filled:
    c, (said, within) = s.date_column(), speech.age(s.r)
    return {"column": s.say(c), "age": said}, call("check", rule="fresh", columns=[c.name], within=within)


def references(s: Speaker) -> Filled:
    key = some(s, s.scene.keys)
    said = {"column": speech.column(s.r, key), "other": speech.table(s.r, s.scene.other)}
    return said, call("check", rule="references", columns=[key], other=s.scene.other)


def compares(kind: str) -> Key:
    def made(s: Speaker) -> Filled:
        a, b = (s.date_column(), s.date_column()) if kind == "date" else (s.number_column(), s.number_column())
        said = {"column": s.say(a), "column2": s.say(b)}
        return said, call("check", rule="compares", columns=[a.name], operator="<=", than=b.name)

    return made


def has_type(s: Speaker) -> Filled:
    c, kind = s.text_column(), s.r.choice(["int", "float", "date", "timestamp", "bool"])
    said = {"column": s.say(c), "type": s.r.choice(speech.TYPES[kind])}
    return said, call("check", rule="has_type", columns=[c.name], type=kind)


def outliers(method: str | None = None, threshold: bool = False) -> Key:
    def made(s: Speaker) -> Filled:
        columns = [s.number_column() for _ in range(s.r.choice([1, 1, 1, 2]))]
        said, more = {"columns": s.say(*columns)}, dict[str, Any]()
        if threshold:
            n = s.r.choice(["2", "3", "4", "2.5", "3.5", "1.5", "5"])
            said["n"], more["threshold"] = n, float(n)
        return said, call("find_outliers", columns=[c.name for c in columns], method=method, **more)

    return made


def compare(columns: bool = False) -> Key:
    def made(s: Speaker) -> Filled:
        if not s.scene.other:
            raise Unfit
        said = {"table": speech.table(s.r, s.scene.table), "other": speech.table(s.r, s.scene.other)}
        more: dict[str, Any] = {}
        if columns:
            chosen = s.several(2)
            said["columns"], more["columns"] = s.say(*chosen), [c.name for c in chosen]
        return said, call("compare", table=s.scene.table, reference=s.scene.other, **more)

    return made


# Storage

FORMATS = {
    "csv": ["csv", "CSV", "a csv", "CSV"], "excel": ["Excel", "excel", "xlsx", "an Excel sheet", "Excel"],
    "jsonl": ["json lines", "jsonl", "JSON lines"], "parquet": ["parquet", "Parquet", "a parquet file"],
}  # fmt: skip


def export(s: Speaker) -> Filled:
    kind = s.r.choice(list(FORMATS))
    return {"format": s.r.choice(FORMATS[kind])}, call("export", format=kind)


def export_path(s: Speaker) -> Filled:
    stem = file_name(s.r).rpartition("/")[2].partition(".")[0]
    folder = s.r.choice(["", "out/", "exports/", "reports/", "data/", "share/"])
    path = f"{folder}{stem}.{s.r.choice(['csv', 'csv', 'xlsx', 'parquet', 'jsonl'])}"
    if path in s.scene.view.files:
        raise Unfit
    return {"file": s.r.choice([path, path, speech.quoted(s.r, path)])}, call("export", path=path)


def task(name: str) -> Key:
    def made(s: Speaker) -> Filled:
        known = some(s, s.scene.view.scheduled)
        return {"task": speech.task(s.r, known)}, call(name, task=known)

    return made


def schedule_zone(s: Speaker) -> Filled:
    known = some(s, s.scene.view.tasks)
    (phrase, when), (said, zone) = speech.moment(s.r), speech.zone(s.r)
    return {"task": speech.task(s.r, known), "when": phrase, "zone": said}, call(
        "schedule", task=known, when=when, zone=zone
    )


def retain(then: str | None, column: bool) -> Key:
    def made(s: Speaker) -> Filled:
        (said, age), c = speech.age(s.r), s.date_column() if column else None
        told = {"age": said} | ({"column": s.say(c)} if c else {})
        return told, call("retain", column=c.name if c else None, older_than=age, then=then)

    return made


def snapshot(s: Speaker) -> Filled:
    name = snapshot_name(s.r)
    return {"name": s.r.choice([name, name, spoken(name), speech.quoted(s.r, name)])}, call("snapshot", name=name)


def restore_snapshot(s: Speaker) -> Filled:
    name = some(s, s.scene.view.snapshots)
    return {"snapshot": s.r.choice([name, name, spoken(name), speech.quoted(s.r, name)])}, call(
        "restore", snapshot=name
    )


def restore_version(s: Speaker) -> Filled:
    n = s.r.randint(1, 12)
    return {"n": str(n)}, call("restore", version=n)


def on_store(name: str, quota: bool = False, given: str = "store") -> Key:
    def made(s: Speaker) -> Filled:
        store = some(s, s.scene.view.stores)
        said, more = {"store": store}, dict[str, Any]()
        if quota:
            said["size"], more["quota"] = speech.size(s.r)
        return said, call(name, **{given: store}, **more)

    return made


def provision_at(store: Callable[[Speaker], Filled], what: str) -> Key:
    def made(s: Speaker) -> Filled:
        said, calls = store(s)
        if what == "quota":
            said["size"], calls[0]["arguments"]["quota"] = speech.size(s.r)
        else:
            bucket = s.r.choice(["lake", "data-lake", "acme-data", "warehouse", "analytics-prod", "backup"])
            place = f"s3://{bucket}" + s.r.choice(
                ["", f"/{spoken(said['store']).replace(' ', '-')}", "/tables", "/curated/v1"]
            )
            said["location"] = calls[0]["arguments"]["location"] = place
        return said, calls

    return made


# Optimization


def throttle(argument: str) -> Key:
    def made(s: Speaker) -> Filled:
        source, (said, n) = some(s, s.scene.view.sources), count(s)
        if argument == "concurrency":
            n = s.r.choice([1, 2, 3, 4, 5, 8, 10])
            said = str(n)
        return {"source": speech.source(s.r, source), "n": said}, call("throttle", source=source, **{argument: n})

    return made


def materialize(s: Speaker, what: str) -> Filled:
    query = some(s, s.scene.view.queries)
    said = {"query": s.r.choice([query, query.replace("_", " "), speech.quoted(s.r, query)])}
    if what == "name":
        said["name"], name = new(s)
        return said, call("materialize", query=query, name=name)
    said["when"], when = speech.moment(s.r)
    return said, call("materialize", query=query, refresh=when)


def plain(name: str, **more: Any) -> Key:
    return lambda s: ({}, call(name, **more))


def on_query(s: Speaker) -> Filled:
    query = some(s, s.scene.view.queries)
    return {"query": s.r.choice([query, query.replace("_", " "), speech.quoted(s.r, query)])}, call(
        "recommend", query=query
    )


#: Key to (what it asks for, how often it is said); `intents.KEYS` takes them in.
KEYS: dict[str, tuple[Key, float]] = {
    "load_file": (load_file(), 2.5), "load_file.into": (load_file("into"), 2), "load_file.append": (load_file(mode="append"), 1),
    "load_file.upsert": (load_file(mode="upsert"), 1), "sync": (sync(), 2.5), "sync.cursor": (sync("cursor"), 1), "sync.key": (sync("cursor", "key"), 1),
    "describe_source": (describe_source, 1.5), "check.not_null": (rule("not_null", many=True), 2.5), "check.unique": (rule("unique", many=True), 2.5),
    "check.range": (in_range("min", "max"), 2), "check.min": (in_range("min"), 1), "check.max": (in_range("max"), 1),
    "check.positive": (rule("in_range", "number", min=0.0), 1.2), "check.set": (in_set, 2.5), "check.email": (rule("matches", "text", pattern="email"), 1.5),
    "check.url": (rule("matches", "text", pattern="url"), 0.7), "check.uuid": (rule("matches", "text", pattern="uuid"), 0.7),
    "check.phone": (rule("matches", "text", pattern="phone"), 0.7), "check.rows": (row_count("min"), 1.5), "check.rows_between": (row_count("min", "max"), 1),
    "check.rows_exact": (row_count("both"), 0.7), "check.fresh": (fresh, 2), "check.references": (references, 2.5), "check.before": (compares("date"), 1.2),
    "check.notmore": (compares("number"), 1.2), "check.type": (has_type, 1.2), "outliers": (outliers(), 2), "outliers.table": (plain("find_outliers"), 1),
    "outliers.zscore": (outliers("zscore"), 1), "outliers.zscore_n": (outliers("zscore", True), 1), "outliers.mad": (outliers("mad"), 1),
    "outliers.iqr_n": (outliers(None, True), 0.8), "compare": (compare(), 2), "compare.columns": (compare(True), 1), "export": (export, 2.5),
    "export.path": (export_path, 2), "schedule.zone": (schedule_zone, 1.2), "unschedule": (task("unschedule"), 1.5), "pause": (task("pause"), 1.5),
    "resume": (task("resume"), 1.5), "retain.archive": (retain(None, True), 1.5), "retain.archive_t": (retain(None, False), 1.2),
    "retain.delete": (retain("delete", True), 1.5), "retain.delete_t": (retain("delete", False), 1.2), "snapshot": (plain("snapshot"), 1.2),
    "snapshot.named": (snapshot, 2), "restore.snapshot": (restore_snapshot, 2.5), "restore.version": (restore_version, 1),
    "restore.previous": (plain("restore", version=-1), 1.5), "resize": (on_store("resize", quota=True), 2), "usage": (on_store("usage"), 2),
    "usage.all": (plain("usage"), 0.8), "drop.table": (plain("drop"), 1.5), "drop.store": (on_store("drop"), 1.5), "compact": (plain("compact"), 1.5),
    "throttle.rate": (throttle("rows_per_second"), 1.5), "throttle.concurrency": (throttle("concurrency"), 1.2), "recommend.table": (plain("recommend"), 1.5),
    "recommend.query": (on_query, 1.5), "recommend.workload": (plain("recommend"), 0.7), "recommend.cost": (plain("recommend", objective="cost"), 0.8),
    "recommend.balance": (plain("recommend", objective="balance"), 0.7), "materialize.named": (lambda s: materialize(s, "name"), 1),
    "materialize.when": (lambda s: materialize(s, "when"), 1),
}  # fmt: skip
