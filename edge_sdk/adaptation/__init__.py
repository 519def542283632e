"""Decide: pure policies that choose what a device does with a task.

A policy sees a task and a reading and gives a `Choice` with a sentence for people. It keeps no
state of its own and looks at no clock, so that a month of decisions can be replayed in a test.
Write your own as any object with the three methods of `interfaces.Policy`, and hold it against
`edge_sdk.testing.check_policy`.
"""

from edge_sdk.adaptation.fixed import FixedPolicy

__all__ = ["FixedPolicy"]
