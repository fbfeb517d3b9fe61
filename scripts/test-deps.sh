#!/bin/bash
# test-deps.sh [--bench]: provides what the tests (and the benchmarks) need on this machine.
#
# As root on Debian it installs what is missing; elsewhere it says what is missing and fails.
# It may run any number of times and takes well under a second when all is there.
#
# PostgreSQL 15, 17 and 18 are tested, and MySQL beside MariaDB, and one Debian release has only one PostgreSQL
# and no MySQL. The others come from a Debian trixie and a Debian sid in folders, and internal/servers runs them by chroot.
set -euo pipefail

cache="${HOLDFAST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast-test}" # as internal/servers has it
trixie="$cache/trixie"
sid="$cache/sid"

say() { echo "test-deps: $*" >&2; }

# try COMMAND: three times, since mirrors fail for a moment.
try() {
	"$@" && return
	for pause in 5 20; do
		say "once more in $pause seconds: $*"
		sleep "$pause"
		"$@" && return
	done
	return 1
}

# What is missing, as Debian packages.
packages=()
need() { # need PACKAGE COMMAND-OR-FILE
	case "$2" in
	/*) [ -e "$2" ] || packages+=("$1") ;;
	*) command -v "$2" >/dev/null || packages+=("$1") ;;
	esac
}
need sqlite3 sqlite3
need python3-minimal python3 # for examples/django
# Stock programs that read what we compress and encrypt.
need gpg gpg
need gpg-agent gpg-agent
need zstd zstd
need xz-utils xz
need bzip2 bzip2
if [ "${1:-}" = --bench ]; then
	need restic restic
	need mydumper mydumper
fi
# Real Django: 3.2 is bookworm's own, 4.2 and 5.2 are unpacked from later Debian releases.
need python3-django /usr/lib/python3/dist-packages/django/__init__.py
need python3-psycopg2 /usr/lib/python3/dist-packages/psycopg2/__init__.py
need python3-mysqldb /usr/lib/python3/dist-packages/MySQLdb/__init__.py
need python3-sqlparse /usr/lib/python3/dist-packages/sqlparse/__init__.py
need tzdata /usr/share/zoneinfo/Europe/Paris
need systemd systemd-analyze # checks units
need prometheus promtool      # checks alert rules
need python3-aiosmtpd /usr/lib/python3/dist-packages/aiosmtpd/__init__.py
want_django=()
for release in 4.2:trixie 5.2:trixie-backports; do
	[ -e "$cache/django-${release%%:*}" ] || want_django+=("$release")
done
need mariadb-server-core mariadb-install-db # without the service of mariadb-server
need mariadb-client mariadb-dump
want_trixie= want_sid=
mysql=$(PATH="$PATH:/usr/sbin" command -v mysqld || true)
if { [ -z "$mysql" ] || "$mysql" --no-defaults --version 2>&1 | grep -q MariaDB; } && [ ! -x "$sid/usr/sbin/mysqld" ]; then
	want_sid=yes
	need debootstrap debootstrap
fi
if [ -z "${HOLDFAST_TEST_PG:-}" ]; then
	need postgresql-15 /usr/lib/postgresql/15/bin/postgres
	need postgresql-client-15 /usr/lib/postgresql/15/bin/pg_dump
	need postgresql-contrib /usr/share/postgresql/15/extension/hstore.control
	if [ ! -x /usr/lib/postgresql/17/bin/postgres ] && [ ! -x "$trixie/usr/lib/postgresql/17/bin/postgres" ]; then
		want_trixie=yes
		need debootstrap debootstrap
	fi
	if [ ! -x /usr/lib/postgresql/18/bin/postgres ] && [ ! -x "$sid/usr/lib/postgresql/18/bin/postgres" ]; then
		want_sid=yes
		need debootstrap debootstrap
	fi
fi
if [ ${#packages[@]} -eq 0 ] && [ -z "$want_trixie$want_sid" ] && [ ${#want_django[@]} -eq 0 ]; then
	exit 0
fi

# Who can't install says what somebody else is to install.
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	say "this needs root on Debian, and is not; missing here:"
	for package in "${packages[@]}"; do say "  Debian's package $package, or the same by other means"; done
	if [ -n "$want_trixie" ]; then
		say "  PostgreSQL 17, in /usr/lib/postgresql/17/bin or as a Debian trixie in $trixie"
	fi
	if [ -n "$want_sid" ]; then
		say "  MySQL 8.0 or newer with mysqld and mysqladmin on \$PATH, and PostgreSQL 18 in /usr/lib/postgresql/18/bin, or both as a Debian sid in $sid"
	fi
	for release in "${want_django[@]}"; do
		say "  Django ${release%%:*} and what it needs, in $cache/django-${release%%:*}/usr/lib/python3/dist-packages"
	done
	say "to test with other PostgreSQL servers: HOLDFAST_TEST_PG=/path/to/bin:/path/to/another/bin"
	exit 1
fi

if [ ${#packages[@]} -gt 0 ]; then
	say "installing ${packages[*]}"
	# A PostgreSQL package starts a server of its own, which no test uses. One that the
	# machine already has is left alone.
	clusters=/etc/postgresql-common/createcluster.d
	if [ ! -e /etc/postgresql/15/main ]; then
		mkdir -p "$clusters"
		echo 'create_main_cluster = false' >"$clusters/holdfast-test.conf"
	fi
	# Neither does one of Prometheus, which comes with promtool.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	else
		policy=
	fi
	trap 'rm -f "$clusters/holdfast-test.conf" ${policy:+"$policy"}' EXIT
	export DEBIAN_FRONTEND=noninteractive
	try apt-get update -q >&2
	try apt-get install -q -y --no-install-recommends "${packages[@]}" >&2
fi

# The other Debian releases come from the mirror this machine's own packages come from.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if [ -n "$want_trixie$want_sid" ] || [ ${#want_django[@]} -gt 0 ]; then
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "Codename: $codename" | head -n 1)
	if [ -z "$mirror" ]; then
		say "no source of Debian packages found: run this again where apt has one"
		exit 1
	fi
	mkdir -p "$cache"
fi

for release in "${want_django[@]}"; do
	version=${release%%:*} suite=${release#*:}
	say "unpacking Django $version of Debian $suite"
	# apt with lists and a cache of its own: this machine's sources stay as they are.
	new=$(mktemp -d "$cache/django.XXXXXX")
	mkdir -p "$new/apt/lists/partial" "$new/apt/archives/partial" "$new/root"
	for s in trixie "$suite"; do echo "deb [signed-by=$keyring] $mirror $s main"; done | sort -u >"$new/apt/sources.list"
	own=(-q -o "Dir::Etc::SourceList=$new/apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$new/apt/lists"
		-o "Dir::Cache=$new/apt" -o Acquire::Languages=none -o APT::Sandbox::User=root)
	# Packages of nothing but Python, so that this system's Python runs them.
	if ! (cd "$new/apt" && try apt-get "${own[@]}" update &&
		try apt-get "${own[@]}" download "python3-django/$suite" python3-{asgiref,sqlparse,typing-extensions}/trixie) >&2; then
		rm -rf "$new"
		say "Django $version could not be had from $mirror"
		exit 1
	fi
	for deb in "$new"/apt/*.deb; do dpkg -x "$deb" "$new/root"; done
	if ! grep -q "^VERSION = (${version/./, }," "$new/root/usr/lib/python3/dist-packages/django/__init__.py"; then
		say "Debian $suite has no Django $version any more"
		rm -rf "$new"
		exit 1
	fi
	/usr/bin/python3 -m compileall -q "$new/root" || true # what is not compiled is only slower
	chmod 755 "$new/root"
	mv -T "$new/root" "$cache/django-$version" || [ -e "$cache/django-$version" ] # somebody else was faster
	rm -rf "$new"
done

# debian SUITE PACKAGES: makes a Debian of a suite with the packages in $cache/SUITE.
debian() {
	local suite=$1 packages=$2 new proxy check=(--keyring="$keyring")
	proxy=$(apt-config shell proxy Acquire::http::Proxy) && eval "$proxy" && [ -n "${proxy:-}" ] && export http_proxy="$proxy"
	if [ ! -e "$keyring" ]; then
		say "warning: $keyring is missing, so the packages' signatures are not checked"
		check=(--no-check-gpg)
	fi
	say "making a Debian $suite with $packages in $cache/$suite"
	# Made aside, so that a half-made one is never taken for a whole one.
	new=$(mktemp -d "$cache/$suite.XXXXXX")
	bootstrap() { # from nothing each time
		rm -rf --one-file-system "$new" && mkdir -m 700 "$new" &&
			debootstrap --variant=minbase "${check[@]}" --include="$packages" "$suite" "$new" "$mirror" >"$cache/debootstrap.log" 2>&1
	}
	if ! try bootstrap; then
		tail -n 20 "$cache/debootstrap.log" "$new/debootstrap/debootstrap.log" >&2 || true
		rm -rf --one-file-system "$new"
		say "debootstrap did not work; its whole log is in $cache/debootstrap.log"
		exit 1
	fi
	rm -rf "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/apt/lists/* "$new"/usr/share/{doc,man,locale}
	if [ -x "$new/usr/sbin/mysqld" ]; then # a fresh data folder to copy: making one takes many seconds
		chroot "$new" /usr/sbin/mysqld --no-defaults --user=root --initialize-insecure --datadir=/var/lib/mysql-empty --skip-log-bin --performance-schema=off \
			--innodb-flush-method=nosync --innodb-doublewrite=0 --innodb-redo-log-capacity=16M >>"$cache/debootstrap.log" 2>&1
		rm -f "$new/var/lib/mysql-empty/auto.cnf" # each copy is a server of its own
		chmod -R a+rX "$new/var/lib/mysql-empty"
	fi
	chmod 755 "$new"
	rm -rf --one-file-system "${cache:?}/$suite"
	mv "$new" "$cache/$suite"
}
if [ -n "$want_trixie" ]; then debian trixie postgresql-17; fi
if [ -n "$want_sid" ]; then debian sid mysql-server-core,mysql-client-core,postgresql-18; fi
say "done"
