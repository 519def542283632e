"""Sizes checked before anything is allocated; part of the protocol."""

MAX_JSON_BYTES = 64 * 1024
"""Largest JSON body either side reads."""

MAX_CHUNKS = 65_535
"""Most chunks in one update."""

MAX_PLAN_BYTES = 1 << 30
"""Largest plan bundle."""

MAX_LONG_POLL_S = 60.0
"""Longest a check-in may be held."""
