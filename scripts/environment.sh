# environment DIR EXTRA: a virtual environment in DIR with this package and one of its extras.
# Made once; made again when pyproject.toml changes.

newest_python() {
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "edge-sdk needs Python 3.11 or newer with venv (on Debian: apt install python3-venv)" >&2
    exit 1
}

environment() {
    stamp="$1/.installed-$2"
    if [ -f "$stamp" ] && cmp -s pyproject.toml "$stamp"; then
        return
    fi
    [ -x "$1/bin/python" ] || "$(newest_python)" -m venv "$1"
    echo "Installing edge-sdk[$2] into $1 …" >&2
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$2]"
    cp pyproject.toml "$stamp"
}
