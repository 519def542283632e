"""Train here: one file per runtime, `select.py` picks one.

Nothing is imported here: `import edge_sdk` must not load a runtime. `select_engine` does, when
training is about to start.
"""
