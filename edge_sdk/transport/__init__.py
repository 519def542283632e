"""Carry: the network behind `interfaces.Transport`. `http` is the one file that knows aiohttp.

Nothing is imported here, so that `import edge_sdk` stays light:
`from edge_sdk.transport.http import HttpTransport`.
"""
