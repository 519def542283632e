"""edge_sdk: everything a device runs, and the language it shares with the server."""

import os

# onnxruntime 1.29 and later reports to its makers unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
