"""A whole federation in one process: `edge-sdk simulate FLEET.toml`.

Server, HTTP application, client, transport, codecs, policies and training are the real ones. What
is scripted is the world around them: time, links, batteries, how fast a device trains, what it
draws.

=============== ==============================================================
`command`       the command; `report` and `plot` say what it found
`federation`    one run from a fleet to an `outcome`
`fleet`         `FLEET.toml`, checked; `plans` and `holdings` make plan and data
`device`        one device: the real client and its scripted surroundings
`wiring`        the HTTP client and the HTTP application joined by `pipes`
`links`         what a link does to bytes (pure)
`power`         what a device draws, what its battery holds (pure)
`loop`          the event loop whose time is virtual
=============== ==============================================================
"""
