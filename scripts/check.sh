#!/bin/bash
# check.sh: what can be said about the code without running it. See «The gate» in CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { echo "check: $*" >&2; }

step gofmt
unformatted=$(git ls-files --cached --others --exclude-standard '*.go' | while read -r f; do if [ -e "$f" ]; then echo "$f"; fi; done | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	echo "not formatted, run gofmt -w:" "$unformatted" >&2
	exit 1
fi

step go vet
go vet ./...

step build for macOS # it is not tested there, but it is not to break unseen
GOOS=darwin CGO_ENABLED=0 go build -o /dev/null ./cmd/holdfast

step staticcheck
go tool staticcheck ./...

step govulncheck
status=0
go tool govulncheck ./... || status=$?
case $status in
0) ;;
3) exit 1 ;; # it found something, and said what
*)
	# Its data comes from the network; the code itself has just passed go vet. Without
	# network the other checks still tell something.
	step "govulncheck DID NOT RUN: its data could not be had (offline?); known vulnerabilities were not looked for"
	;;
esac
