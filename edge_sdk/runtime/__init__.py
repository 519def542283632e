"""Take part: one participation as a straight line, and the loop around it.

====================== ==========================================================================
`client`               `Client.participate`: check in, decide, download, train, encode, send
`workbench`            one task: download, train, encode, save
`loop`                 for ever: what each failure means for the next turn
`backoff`              when to try again (pure)
`spool`                the trained update on disk before it is sent, and how it is delivered
`carrying`             residual or Artemis memory from update to update (pure)
`frames`               update -> frames (pure)
`state`                identity and plans in the state folder
`records`              files that survive a power cut
`training`             local training in a thread that stops when asked
`clock`                the real clock
====================== ==========================================================================
"""
