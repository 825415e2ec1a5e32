"""The worst-case planner: a model that plans anything that the real grammar allows. See `__main__.py`."""
