"""What plans, runs, quality reports, events, lineage, changes and measurements look like to people.

`html.*` gives plain HTML for notebooks and pages (in JupyterLab's own colours, no JavaScript), `terminal.*` gives rich
renderables. Both take text from strangers (cells, column names, answers of APIs) and show it as text, never as markup
or as a terminal's control codes. Nothing here reads a catalog: whoever shows something hands it over whole.
"""

from agentlab.display import html, terminal
from agentlab.display.live import Progress
from agentlab.display.words import Change, visible
from agentlab.shown import show_with

show_with(html.shown)

__all__ = ["Change", "Progress", "html", "terminal", "visible"]
