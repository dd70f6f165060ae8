#!/bin/sh
# Makes the virtual environment DIR with the first Python that is new enough, or says what is missing and how to get it.
# A DIR that already holds a working environment is kept: whoever made it by hand keeps it.
# usage: [PYTHON=/path/to/python3.11] requirements/venv.sh DIR
set -eu

DIR=$1
NEW_ENOUGH='import sys; sys.exit(sys.version_info < (3, 11))'

new_enough() { command -v "$1" >/dev/null 2>&1 && "$1" -c "$NEW_ENOUGH" 2>/dev/null; }

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

if [ -e "$DIR/bin/python" ]; then
    new_enough "$DIR/bin/python" || fail \
        "cmkms: the Python in $DIR is older than 3.11 or does not start." \
        "  Remove that directory (rm -r $DIR) and run make again."
    "$DIR/bin/python" -m pip --version >/dev/null 2>&1 || fail \
        "cmkms: there is no pip in $DIR." \
        "  Remove that directory (rm -r $DIR) and run make again."
    exit 0
fi

found=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if new_enough "$candidate"; then
        found=$candidate
        break
    fi
done
[ -n "$found" ] || fail \
    "cmkms: needs Python 3.11 or newer; tried: ${PYTHON:-python3 python3.13 python3.12 python3.11}." \
    "  Debian 12, Ubuntu 24.04 and later: apt install python3 python3-venv" \
    "  Another place:                     make PYTHON=/path/to/python3.12 ..."

"$found" -c 'import venv, ensurepip' 2>/dev/null || fail \
    "cmkms: $(command -v "$found") has no venv module." \
    "  Debian and Ubuntu keep it in a package of its own: apt install python3-venv"

"$found" -m venv "$DIR"
