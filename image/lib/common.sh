# shellcheck shell=bash
# What all programs of this folder share: where things are, how they speak, what they need of the machine.
# Sourced by image/build, image/run, image/check and tests/qemu/run.

IMAGE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOP=$(dirname "$IMAGE_DIR")
OUT=${OUT:-$IMAGE_DIR/out}
# Everything that is built carries this time, so that two builds of the same content are the same bytes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
export LC_ALL=C
# Administrators' programs are not in everybody's path.
PATH=$PATH:/usr/sbin:/sbin

# What a build runs. libclang and the kernel's headers: the bindings to nftables are generated.
BUILD_PACKAGES=(
    binutils ca-certificates cpio dpkg e2fsprogs erofs-utils jq kmod openssl zstd
    gcc libc6-dev linux-libc-dev libclang1-14
)
# What a disk is made with, besides.
DISK_PACKAGES=(cryptsetup-bin dosfstools genimage mtools qemu-utils)

# One line of progress with the seconds since the start.
step() {
    printf '[%4d s] %s\n' "$SECONDS" "$*" >&2
}

# Ends with a sentence that a person can act on.
fail() {
    printf '%s: %s\n' "${PROGRAM:-image}" "$*" >&2
    exit 1
}

# The lines of a list file without comments and empty lines.
entries() {
    sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$1"
}

# budget SECTION KEY: a number of budgets.toml.
budget() {
    awk -F ' *= *' -v section="[$1]" -v key="$2" '
        /^\[/ { here = ($0 == section) }
        here && $1 == key { print $2; found = 1 }
        END { exit !found }' "$IMAGE_DIR/budgets.toml" || fail "budgets.toml has no $2 in [$1]"
}

# version: what the image is called: this source's version, or VERSION.
version() {
    if [[ -n ${VERSION:-} ]]; then
        [[ $VERSION =~ ^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}$ ]] || fail "VERSION=$VERSION is no version; one is three numbers, such as 1.2.3"
        echo "$VERSION"
    else
        sed -n 's/^version = "\(.*\)"/\1/p' "$TOP/Cargo.toml" | head -n 1
    fi
}

# need_packages PACKAGE...: Debian packages that have to be installed; installs them where it may.
need_packages() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null || fail "this needs Debian 12 or a relative of it: there is no apt-get to install ${missing[*]}"
    [[ $EUID -eq 0 ]] || fail "packages are missing; install them with: sudo apt-get install --no-install-recommends ${missing[*]}"
    step "installing ${missing[*]}"
    fresh_lists
    # Servers among them are started where they are needed, never by their installation (deb-systemd-invoke(1)).
    local policy=/usr/sbin/policy-rc.d own_policy=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
        own_policy=yes
    fi
    local status=0
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >"$OUT/apt.log" 2>&1 </dev/null || status=$?
    [[ -z $own_policy ]] || rm "$policy"
    [[ $status -eq 0 ]] || fail "apt-get could not install ${missing[*]}; its words are in $OUT/apt.log"
}

# Reads the lists of packages anew, once, where that is allowed.
fresh_lists() {
    [[ -z ${LISTS_ARE_FRESH:-} && $EUID -eq 0 ]] || return 0
    mkdir -p "$OUT"
    apt-get update -qq >"$OUT/apt.log" 2>&1 || step "apt-get update failed; going on with the lists that are there"
    LISTS_ARE_FRESH=yes
}

# Puts standard input where FILE is unless FILE holds just that already, so that its time says when it changed.
replace_if_changed() {
    local file=$1 new=$1.new
    cat >"$new"
    if cmp -s "$new" "$file"; then rm "$new"; else mv "$new" "$file"; fi
}
