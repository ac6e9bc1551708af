#!/usr/bin/env bash
# Makes the Python environment of the test target `clients` and prints where its programs are.
#
#   python.sh FOLDER      makes it in FOLDER, or finds it there
#
# The clients are the last ones that were published: the DC/OS CLI 0.6.1 and marathon-python 0.13.0. What they stand on
# is pinned, so that every machine runs the same. Both were written for a Python that still had `collections.Mapping`
# and its like; the `.pth` file gives the names back.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
folder=$1
recipe=$(sha256sum "${BASH_SOURCE[0]}" | cut -d' ' -f1)

mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
if [ "$(cat "$folder/recipe" 2>/dev/null)" != "$recipe" ]; then
    rm -rf "$folder/venv" "$folder/recipe"
    python3 -m venv "$folder/venv" >&2
    pip() { "$folder/venv/bin/pip" --quiet --disable-pip-version-check "$@" >&2; }
    pip install 'jsonschema==2.6.0' 'pager==3.3' 'prettytable==0.7.2' 'PyJWT==1.4.2' 'Pygments==2.21.0' \
        'requests==2.34.2' 'six==1.17.0' 'toml==0.10.2' 'sseclient==0.0.19' 'retrying==1.3.3' 'docopt==0.6.2' \
        'cryptography==50.0.2' 'pkginfo==2.0' 'requests-toolbelt==1.0.0'
    pip install --no-deps 'dcos==0.6.1' 'dcoscli==0.6.1' 'marathon==0.13.0'
    packages=$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    names='Mapping MutableMapping Sequence Iterable Callable'
    {
        printf 'import collections, collections.abc as _abc'
        for name in $names; do printf '; collections.%s=_abc.%s' "$name" "$name"; done
        echo
    } >"$packages/collections_of_old.pth"
    "$folder/venv/bin/python" -c 'import dcoscli.marathon.main, marathon' >&2
    echo "$recipe" >"$folder/recipe"
fi
echo "$folder/venv/bin"
