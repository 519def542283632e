"""Look at the hardware: what this process spends, and what one phase of a round cost.

`ProcessSensor` reads clock, CPU time, memory and traffic of this process. Energy, battery and
temperature are None until their readers exist: None is "cannot tell", never zero. `cost_between`
turns two readings into a `Cost`.
"""

from edge_sdk.telemetry.device import ProcessSensor
from edge_sdk.telemetry.ledger import cost_between, costs_of
from edge_sdk.telemetry.meter import ByteMeter

__all__ = ["ByteMeter", "ProcessSensor", "cost_between", "costs_of"]
