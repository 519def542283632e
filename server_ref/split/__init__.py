"""The server's half of split learning: sessions of devices, each with a copy of its part.

Importing this loads the training engine; a server imports it only when its rounds offer `split`.
"""

from server_ref.split.results import Results
from server_ref.split.room import SplitRoom, SplitRound, Visit
from server_ref.split.session import Session

__all__ = ["Results", "Session", "SplitRoom", "SplitRound", "Visit"]
