"""The HTTP API: one function per call, each from an `Exchange` to a response.

Calls raise `Refused` and `Malformed`; `refusing` turns them into the one shape of a refusal.
"""

from server_ref.api.exchange import Api
from server_ref.api.refusing import name_answer, refuse_unrouted
from server_ref.api.routes import routes

__all__ = ["Api", "name_answer", "refuse_unrouted", "routes"]
