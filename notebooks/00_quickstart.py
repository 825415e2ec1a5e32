# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a sales API to a clean store, in five sentences
#
# When you are through, in half an hour, you can
#
# * tell a lab in plain English what should happen to your data, and **read the plan before anything runs**,
# * find what is wrong with a table, and **decide yourself** which rows leave it,
# * **trace a column back** to the sentence and the source that it came from,
# * **undo** what a sentence did, all of it, and do it again,
# * publish a table to a store, schedule its refresh, and make a slow query quick.
#
# It is the story of `make demo`, told slowly. Everything runs on this machine.

# %%
import tempfile
from pathlib import Path

import duckdb
import pandas as pd
from IPython.display import HTML

import agentlab
from agentlab import Lab, demo, models
from agentlab.display import html

# The offline model; or models.load("Qwen/Qwen2.5-0.5B-Instruct"), or the URL of an OpenAI-compatible server.
model = models.load()
print(f"agentlab {agentlab.__version__}, model {model.name}")
print(f"pandas {pd.__version__}, DuckDB {duckdb.__version__}")

# %% [markdown]
# ## A shop, and a lab
#
# `demo.start()` runs a sales API on this machine: a bearer token, pages of 500 orders, now and then a refusal or a
# failure. A lab is a folder: tables in all their versions, and a catalog of what was said and done. This one is thrown
# away at the end.

# %%
api = demo.start()
folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
lab = Lab(Path(folder.name) / "quickstart", model=model)
lab.add_source("sales_api", token=api.token, **api.source())
lab.sources()

# %% [markdown]
# ## 1. Pull
#
# `lab.plan` turns a sentence into typed actions and checks them against what the lab really has. It changes nothing.
# Source, resource, number and order are in it: that is what would happen, whatever the sentence may have meant.
# `lab.run` carries out a plan, or a sentence, which it plans first; its result says what came of it.

# %%
plan = lab.plan("Pull the latest 10,000 rows from the sales API and store them in a temporary staging table.")
plan

# %%
lab.run(plan)

# %%
print("what the API answered:", api.stats()["answers"])
orders = lab.table("staging.orders")
orders[["order_id", "order_date", "customer_id", "product", "quantity", "unit_price"]].head()

# %% [markdown]
# Refusals (429) and failures (500) were tried again, politely; no row is there twice because of it.
#
# ## 2. Judge
#
# Believable data has faults: here they are with examples, and a card for each column. (A plan can be printed, too.)

# %%
plan = lab.plan("Analyze the staging table for data quality issues and suggest remediation steps.")
print(plan)
judged = lab.run(plan)
(report,) = html.reports(judged.reports)
HTML(html.report(report))

# %% [markdown]
# The table failed, and fixes were suggested. The lab's policy takes them up by itself, but **whatever takes rows out of
# a table waits for you**: a run has the status `approval`. It has computed what would be, and none of it is visible.

# %%
(waiting,) = lab.reviews()
print(f"rows in staging.orders now: {lab.tables()['staging.orders'].rows:,}")
waiting

# %% [markdown]
# That is reasonable: odd rows go to `quarantine.orders`, each with its reason, and only exact copies are dropped.
# So say yes. (`lab.reject(waiting.run)` would end it, and nothing would ever have happened.)

# %%
mended = lab.approve(waiting.run)
print(f"{mended.status}: {mended.tables}\n")
print(lab.table("quarantine.orders")["reason"].value_counts().to_string())

judgements = [event for event in lab.events() if event.type in ("quality-fail", "quality-pass")]
scores = pd.DataFrame([{"event": event.type, **event.body} for event in judgements])
scores[["event", "version", "rows", "errors", "score"]].head()

# %% [markdown]
# No error is left. The missing emails stay missing, since nobody can infer them.
#
# ## 3. Transform
#
# Look at how the new column is made *before* you let it be made.

# %%
plan = lab.plan("Add a calculated column for total revenue and rename the customer_id field to cust_id.")
print(plan)

# %%
transformed = lab.run(plan)
print(transformed.status)
lab.table("staging.orders")[["order_id", "cust_id", "quantity", "unit_price", "total_revenue"]].head()

# %% [markdown]
# ## Where does it come from? And how do I get rid of it?
#
# Every version of a table knows which action made it, and every run which sentence it was: read the chain upwards.
# And a run is one commit: `undo` takes back all of it. To redo it, run the same plan again; no model is asked.

# %%
lab.lineage("staging.orders", "total_revenue")

# %%
print("\n".join(lab.undo(transformed.run)))
print("customer_id is back:", "customer_id" in lab.tables()["staging.orders"].schema_)

transformed = lab.run(plan)
columns = list(lab.tables()["staging.orders"].schema_)
print(f"{transformed.status}: {', '.join(columns)}")

# %% [markdown]
# ## 4. Publish
#
# A store is where finished tables live, and `nightly` becomes a schedule. What is in a store is plain Parquet, yours to
# read with whatever you like, and without agentlab.

# %%
plan = lab.plan("Provision a new columnar store for the sales data and set up a nightly refresh.")
print(plan)
print(lab.run(plan).status)
print([(schedule["task"], schedule["when"], schedule["cron"]) for schedule in lab.schedules()])

# %%
(store,) = lab.stores().values()
sales = duckdb.read_parquet(str(lab.root / store.tables["orders"].parts[-1].path / "**/*.parquet"))
duckdb.sql("SELECT category, round(sum(total_revenue)) AS revenue FROM sales GROUP BY ALL ORDER BY revenue DESC").df()

# %% [markdown]
# ## 5. Make it quick
#
# People look at a query all day: each day's revenue beside the average and the median of the 90 days before it.
# The lab logs each look and how long it took. A layout is kept only if it was measured to be faster and gave **the same
# rows**; once the table changes it isn't used any more.

# %%
from agentlab.story.script import QUERY, SQL

print(SQL)
before = [lab.query(QUERY, SQL) for _ in range(8)][-1]
before.tail(3)

# %%
plan = lab.plan("The daily revenue query got slow, fix it.")
print(plan)
lab.run(plan)

# %%
after = lab.query(QUERY)
pd.testing.assert_frame_equal(after, before)
print("the same", len(after), "days, answered from", lab.queries()[QUERY].runs[-1].layout)
lab.events()

# %% [markdown]
# ## Exercise 1: a sentence of your own
#
# Have the column `country` of the staging table called `ship_country`. Look at the plan first; if the lab asks back,
# say it more plainly. Run the check after it.
#
# <details><summary>A solution</summary>
#
# ```python
# answer = lab.run("Rename the country column to ship_country.")
# ```
# </details>

# %% tags=["exercise-1"]
answer = None  # lab.run("...")

# %% tags=["check-1"]
columns = lab.tables()["staging.orders"].schema_
if "ship_country" in columns and "country" not in columns:
    print("pass: it is ship_country now, and lab.undo(answer.run) would make it country again")
else:
    print('hint: rename it by a sentence with both names in it, as in "rename the <old> column to <new>"')

# %% [markdown]
# ## Exercise 2: ask the store
#
# Which country brought the most revenue? Let `winner` be its name, found in `sales`, the store's table from above.
#
# <details><summary>A solution</summary>
#
# ```python
# ranked = duckdb.sql("SELECT country FROM sales GROUP BY country ORDER BY sum(total_revenue) DESC").df()
# winner = ranked["country"][0]
# ```
# </details>

# %% tags=["exercise-2"]
winner = None

# %% tags=["check-2"]
revenue = sales.df().groupby("country")["total_revenue"].sum()
if winner == revenue.idxmax():
    print(f"pass: {winner}, with {revenue.max():,.0f} euros")
else:
    print("hint: add up total_revenue for each country, then take the name of the greatest sum")

# %% [markdown]
# ## What you have done
#
# You read five plans before they ran, said yes to one thing that deserved a look, traced a column to its sentence, took
# a run back, read the store without agentlab, and saw a query get faster without its answer changing.
#
# Next: `lab.load(frame, "mine")` puts a data frame of yours into a lab, `agentlab run "..." --lab DIR` does all this in
# a terminal, and `data/pipelines/sales.yaml` holds these five sentences as a pipeline.

# %%
lab.close()
api.stop()
folder.cleanup()
