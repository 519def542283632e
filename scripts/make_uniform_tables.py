"""Uniform quantizers of entropy-coded EDEN, printed as `edge_sdk/codecs/uniform_table.py`.

Run `python -m scripts.make_uniform_tables` and redirect. The quantizer of step D is round(z / D)
for z of unit variance; its unbiased scale is c = 1 / E[z round(z / D)]; entropy and error are those
for the normal distribution. See `make_ladder_tables` for the distribution that c is taken from.
"""

import sys

from scripts.make_ladder_tables import figures, scale, sphere_mean_beyond

STEPS = range(-16, 23)
"""Steps in eighths of an octave: 1/4 to 6.7 standard deviations. Below, c is the step itself."""

BLOCKS = (64, 256, 1024, 4096)

HEAD = '''"""Uniform quantizers of entropy-coded EDEN as integers, for encoders only.

Made by `scripts/make_uniform_tables.py`; do not edit.
"""

# fmt: off
STEPS: tuple[tuple[int, ...], ...] = (
    # step, 1/8 octave | unbiased scale in steps, 2**-20, blocks of 64, 256, 1024, 4096
    # | entropy, bits/4096 | error, 2**-20 of the energy
'''


def row(exponent: int) -> tuple[int, ...]:
    """One quantizer as whole numbers."""
    step = 2 ** (exponent / 8)
    scales = [scale(step, 0.5, sphere_mean_beyond(n)) / step for n in BLOCKS]
    error, entropy = figures(step, 0.5)
    lost = (round(entropy * 4096), round(error * 2**20))
    return (exponent, *(round(c * 2**20) for c in scales), *lost)


def main() -> None:
    """Print the module."""
    out = sys.stdout.write
    out(HEAD)
    for exponent in STEPS:
        out(f"    ({', '.join(map(str, row(exponent)))}),\n")
    out(")\n# fmt: on\n")


if __name__ == "__main__":
    main()
