"""Cases to an executed end state: how often a model's plans do what people asked for. `evaluate` is the way in.

Nothing here plans or mends; what is expected is looked at only when a case's run is over.
"""

from __future__ import annotations

from agentlab.evaluation.cases import Case, FormError, load
from agentlab.evaluation.running import SCRIPTED, carry_out, evaluate, plan_alone
from agentlab.evaluation.score import Judged, Result

__all__ = ["SCRIPTED", "Case", "FormError", "Judged", "Result", "carry_out", "evaluate", "load", "plan_alone"]
