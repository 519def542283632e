"""Reverse-mode differentiation of a graph into further standard operators.

`walk` is the one backward pass; it knows no operator. `table` joins the rules, which live in one
file per operator family. To add an operator: write its rule beside its family, name it in that
file's `RULES`, and add its cases to `tests/edge_sdk/authoring/test_rules_<family>.py`.

A rule gets a `Call` (the forward node with its inputs, outputs and the outputs' cotangents) and
gives one cotangent per input, or None where an input gets none. It may give a cotangent of the
broadcast shape: the walk sums it down. It asks `call.wants(i)` before spending nodes on an input.
"""

from edge_sdk.authoring.differentiate.walk import differentiate, trainable

__all__ = ["differentiate", "trainable"]
