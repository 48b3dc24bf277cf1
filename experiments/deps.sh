# Sourced by tests/run.sh, experiments/demo.sh and .ci/run: what a bare Debian 12 or Ubuntu lacks,
# and how the tree is built. The one list of packages. Nothing else here uses the network.
#   . "$top/experiments/deps.sh"
#   need_packages [MORE PACKAGES...]
#   build_tree SOURCE BUILD [CONFIGURE OPTIONS...]
# shellcheck shell=sh disable=SC2086

PESC_PACKAGES="gcc libc6-dev make autoconf automake pkg-config xz-utils
libdnnl-dev libarchive-dev libsqlite3-dev libjansson-dev libpcre2-dev libutf8proc-dev libyaml-dev
libssl-dev zlib1g-dev"
# What the program does a little less without: PNG.
PESC_OPTIONAL="libcairo2-dev"

# Installs those of the list (and of the arguments) that are missing. Exit status 2 of the whole
# script when that cannot be done.
need_packages() {
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        echo "No apt here; going on. Should configure miss something, these are Debian's names:"
        echo $PESC_PACKAGES "$@"
        return 0
    fi
    missing='' optional=''
    for package in $PESC_PACKAGES "$@"; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) missing="$missing $package" ;;
        esac
    done
    for package in $PESC_OPTIONAL; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
        *' installed') ;;
        *) optional="$optional $package" ;;
        esac
    done
    [ -n "$missing$optional" ] || return 0
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            [ -n "$missing" ] || return 0
            echo "These packages are missing, and neither root nor sudo is at hand. As root, run:" >&2
            echo "  apt-get install --no-install-recommends$missing" >&2
            exit 2
        fi
        as_root=sudo
    fi
    echo "Installing through apt:$missing$optional"
    # A fresh system has no package lists, an old one has stale ones: both show as a failure.
    if [ -n "$missing" ] && ! apt_install $missing >/dev/null 2>&1; then
        echo "Refreshing the package lists first"
        apt_run update || true
        if ! apt_install $missing; then
            echo "apt could not install:$missing" >&2
            exit 2
        fi
    fi
    if [ -n "$optional" ] && ! apt_install $optional >/dev/null 2>&1; then
        echo "Going on without:$optional"
    fi
}

apt_run() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@" </dev/null
}

apt_install() {
    apt_run -o Dpkg::Use-Pty=0 install --no-install-recommends "$@"
}

# Configures BUILD for SOURCE and builds the program. A tree that is configured already is kept as
# it is, unless options are given and are not those of the last time.
build_tree() {
    tree_source=$1 tree_build=$2
    shift 2
    jobs=${PESC_JOBS:-$(nproc 2>/dev/null || echo 2)}
    if [ ! -x "$tree_source/configure" ]; then
        (cd "$tree_source" && autoreconf -fi >autoreconf.log 2>&1) || {
            cat "$tree_source/autoreconf.log" >&2
            return 1
        }
        rm -f "$tree_source/autoreconf.log"
    fi
    mkdir -p "$tree_build" || return 1
    if [ ! -f "$tree_build/Makefile" ] ||
        { [ $# -gt 0 ] && [ "$(cat "$tree_build/.options" 2>/dev/null)" != "$*" ]; }; then
        tree_abs=$(cd "$tree_source" && pwd) || return 1
        (cd "$tree_build" && "$tree_abs/configure" -q "$@") || return 1
        echo "$*" >"$tree_build/.options"
    fi
    make -C "$tree_build" -s -j"$jobs"
}
