"""Take part: one participation as a straight line, and the loop around it.

====================== ==========================================================================
`client`               `Client.participate`: check in, decide, download, train, encode, send
`membership`           joining, and a fresh token now and then
`attempt`              a task under way, and how it ended
`workbench`            one task: download, train, encode, save
`makers`               engines, where the client is given none
`loop`                 for ever: what each failure means for the next turn
`backoff`              when to try again (pure)
`spool`                the trained update on disk before it is sent, and how it is delivered
`replica`              the version of the model held, in memory and on disk
`carrying`             residual or Artemis memory from update to update (pure)
`frames`               update -> frames (pure)
`state`                identity and plans in the state folder
`records`              files that survive a power cut
`trainer`              local training that conditions may interrupt, and that goes on later
`training`             work in a thread that stops when asked
`steward`              the owner's interests: conditions, quotas, policy, books
`books`                what was learned, what rounds cost, where training stands
`phases`               what each phase of a round spends
`clock`                the real clock
====================== ==========================================================================
"""
