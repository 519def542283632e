"""The reference aggregation server. Read it top down.

=============== ===========================================================================
`__main__`      the command: `python -m server_ref PLAN …` or `edge-sdk serve PLAN …`
`settings`      every setting, from flags, environment and a TOML file
`app`           builds the HTTP application and owns clock, sockets and threads
`tls`, `logs`   the certificate that follows its files; what is logged, with request ids
`api/`          one function per call; `routes` is the table, also of the OpenAPI document
`coordinator`   the run: brings rounds, store and sums together; knows no HTTP
`split/`        the server's part of split training, one session for each device
`evaluation`    measures published versions on the operator's data
`dashboard`     the operator's page, as files
`store/`        what survives: the log of chunks, SQLite for state, versions as files
`rounds`        what a round may do: a pure state machine, drawn as a table
`aggregate`     from updates to the model's next step, pure
`downlink`      what devices download: the replica they hold and the deltas that move it, pure
`growth`        which stage comes next, from the rounds on record, pure
`robust`        rules that bound what one device can do: median, trimmed mean, Krum, clipping, pure
`memory`        Artemis memories of devices and their mean, pure
`simulate/`     whole fleets in virtual time: the real server and clients, scripted links and boards
=============== ===========================================================================

The rule of durability: the log of compressed chunks and the recorded order of commits are the
truth; sums in memory are a cache of them, so that the same log gives the same model bit for bit.
"""
