"""rpi_demo: the device program for a Raspberry Pi, and the one-command demonstration of a fleet.

`python -m rpi_demo` is one device; `python -m rpi_demo.fleet` (what `./demo` starts) is an
aggregator and many such devices as real processes on this machine.
"""
