"""The story of `make demo`: five sentences carry a sales API's orders into a clean store, and a slow query gets quick.

`tell` starts the API, carries the pipeline out in a fresh lab, shows all of it, writes a page and then doesn't believe
itself: `verify.py` looks at the files with SQL of its own.
"""

from agentlab.story.tell import tell

__all__ = ["tell"]
