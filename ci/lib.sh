# lib.sh - what the scripts of ci/ have in common. Sourced, never run.
# shellcheck shell=bash disable=SC2034

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Prints the paragraph at the top of the script, without its first line and the '#'s.
usage() {
	sed -n '2,/^[^#]/{/^#/!q;s/^# \{0,1\}//;p}' "$0"
}

die() {
	printf 'ci/%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Runs a command, and shows what it said only when it fails.
quietly() {
	local log status=0

	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	[ "$status" -eq 0 ] || cat "$log" >&2
	rm -f "$log"
	return "$status"
}

# configure BUILD [MESON-OPTION...]: sets the build directory up, afresh when the options or the compiler are others.
configure() {
	local build=$tree/$1 wanted="${CC:-} ${CFLAGS:-} $*"

	shift
	if [ ! -f "$build/build.ninja" ] || [ "$(cat "$build/configured-by-ci" 2>/dev/null)" != "$wanted" ]; then
		rm -rf "$build"
		quietly meson setup "$@" "$build" "$tree" || return
		printf '%s\n' "$wanted" >"$build/configured-by-ci"
	fi
}

# compile BUILD [TARGET...]
compile() {
	local build=$tree/$1

	shift
	quietly ninja -C "$build" "$@"
}

# debian_root OUTPUT SUITE [PACKAGES]: a minimal Debian with these packages (and commas) in it, from where apt reads them here.
debian_root() {
	local sources

	mapfile -t sources < <(find /etc/apt/sources.list /etc/apt/sources.list.d -type f \
		\( -name '*.list' -o -name '*.sources' \) 2>/dev/null)
	quietly mmdebstrap --variant=minbase ${3:+--include="$3"} "$2" "$1" "${sources[@]}"
}

# The sanitizers of Debian 12's compilers cannot live with all the address randomisation that newer kernels give.
if setarch -R true 2>/dev/null; then
	unrandomised=(setarch -R)
else
	unrandomised=()
fi
