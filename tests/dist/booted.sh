#!/bin/bash
# booted.sh - run by systemd in a container that ci/package boots, where the package is installed: the life of loom.service, as
# an operator would lead it. Each line that it prints is something that was seen; the last one is "booted", or says what is wrong.
set -uo pipefail
export LOOM_ADMIN=unix:/run/loom/admin

fail() {
	echo "FAILED: $*"
	systemctl --no-pager status loom.service loom.socket
	journalctl --no-pager -u loom.service | tail -30
	exit 1
}

# until WHAT COMMAND...: waits for half a minute at most.
until_() {
	local what=$1 i

	shift
	for i in $(seq 300); do
		if "$@" >/dev/null 2>&1; then
			echo "$what"
			return
		fi
		sleep 0.1
	done
	fail "not in 30 s: $what"
}

property() {
	systemctl show loom.service -p "$1" --value
}

is() {
	[ "$(property "$1")" = "$2" ]
}

# The first page, asked for on the socket's port.
page() {
	perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:80") or die "$!\n";
		print $s "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
		my $answer = join("", <$s>);
		exit($answer =~ m{\AHTTP/1\.1 200 OK\r\n.*<html}is ? 0 : 1)'
}

is_another() {
	local now

	now=$(property MainPID)
	[ "$now" != 0 ] && [ "$now" != "$1" ] && is ActiveState active && page
}

until_ "active: $(property Type)" is ActiveState active
until_ "serves the package's page" page
property StatusText | grep -q '^Serving snapshot' || fail "STATUS is '$(property StatusText)'"
echo "says its status"
first=$(property MainPID)
[ "$(loomctl -1 status | sed -n 's/^pid: //p')" = "$first" ] || fail "loomctl does not find pid $first"
echo "loomctl finds it"
[ "$(ps -o user= -p "$first" 2>/dev/null || stat -c %U "/proc/$first")" != root ] || fail "it runs as root"
echo "runs as a user of its own"
grep -q '^CapPrm:[[:space:]]*0*$' "/proc/$first/status" || fail "it has capabilities"
grep -q '^Seccomp:[[:space:]]*2$' "/proc/$first/status" || fail "it has no filter"
journalctl -u loom.service | grep -q 'sandbox: no new privileges, Landlock.*seccomp' || fail "its sandbox is not whole"
echo "is in its sandbox: no capabilities, Landlock, seccomp"

systemctl reload loom.service || fail "systemctl reload"
is MainPID "$first" || fail "a reload has changed the process"
journalctl -u loom.service | grep -q 'rebuilding on SIGHUP' || fail "the reload was not heard"
echo "reloads"

systemctl kill --kill-whom=main --signal=SIGUSR2 loom.service
until_ "SIGUSR2: another process serves" is_another "$first"
second=$(property MainPID)
loomctl upgrade >/dev/null || fail "loomctl upgrade"
until_ "loomctl upgrade: another process serves" is_another "$second"
third=$(property MainPID)
is NRestarts 0 || fail "systemd has restarted it $(property NRestarts) times"

kill -STOP "$third" || fail "kill -STOP"
sleep 30
until_ "stopped, the watchdog ends it and starts another one" is_another "$third"
is NRestarts 1 || fail "systemd has restarted it $(property NRestarts) times"

fourth=$(property MainPID)
kill -KILL "$fourth"
until_ "killed, another one is started" is_another "$fourth"

systemctl stop loom.service loom.socket || fail "systemctl stop"
is Result success && is ActiveState inactive || fail "it ended with $(property Result), $(property ActiveState)"
journalctl -u loom.service | grep -q 'draining: ' || fail "it did not drain"
echo "stops, drained"
echo booted
