"""The operator's page: files that the server serves itself, and the rule that nothing else loads.

The page asks the API for everything it shows, with the operator's token, which it keeps in the
tab's session storage. `vendor/` holds uPlot with its licence, as published.
"""
