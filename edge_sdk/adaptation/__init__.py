"""Decide: pure policies that choose what a device does with a task, and the owner's conditions.

============= =====================================================================================
`eligibility` when this device may work at all
`quotas`      bytes a month, joules a day
`budget`      the default policy: most progress for least spent, within every limit
`fixed`       the policy that never changes its mind
`learned`     what the budget policy learns, and how
`rates`       what a codec will send and lose, by its spec
============= =====================================================================================

A policy sees a task and a reading and gives a `Choice` with a sentence for people. It keeps no
state of its own and looks at no clock, so that a month of decisions can be replayed in a test.
Write your own as any object with the three methods of `interfaces.Policy`, and hold it against
`edge_sdk.testing.check_policy` (`docs/adaptation.md` shows one).
"""

from edge_sdk.adaptation.budget import BudgetPolicy
from edge_sdk.adaptation.eligibility import Eligibility
from edge_sdk.adaptation.fixed import FixedPolicy
from edge_sdk.adaptation.learned import Learned
from edge_sdk.adaptation.quotas import Quotas, Usage, at_time, shortfall, used
from edge_sdk.adaptation.rates import Forecast, forecast

__all__ = [
    "BudgetPolicy",
    "Eligibility",
    "FixedPolicy",
    "Forecast",
    "Learned",
    "Quotas",
    "Usage",
    "at_time",
    "forecast",
    "shortfall",
    "used",
]
