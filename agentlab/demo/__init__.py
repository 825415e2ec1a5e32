"""A sales API to try things on: a believable shop with planted defects, served on loopback by a process of its own.

`start()` runs it, `build()` makes the shop alone. It knows nothing of the rest of agentlab.
"""

from agentlab.demo.server import SalesAPI, start
from agentlab.demo.shop import Manifest, Shop, build

__all__ = ["Manifest", "SalesAPI", "Shop", "build", "start"]
