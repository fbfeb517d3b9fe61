# make help says what there is.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
TIMEOUT ?= 20m

# What the tests must find: a test whose server is missing fails instead of being skipped.
# With HOLDFAST_TEST_PG set, exactly the PostgreSQL servers it names are used.
ifeq ($(HOLDFAST_TEST_PG),)
REQUIRE ?= postgres15,postgres17,postgres18,mariadb,mysql,sqlite3,python3,kopia,gpg,gzip,xz,zstd,bzip2,systemd-analyze,promtool,aiosmtpd,django3.2,django4.2,django5.2
else
REQUIRE ?= mariadb,mysql,sqlite3,python3,kopia,gpg,gzip,xz,zstd,bzip2,systemd-analyze,promtool,aiosmtpd,django3.2,django4.2,django5.2
endif
ifeq ($(shell id -u),0) # only root can make the small file system on which disks run full
REQUIRE := $(REQUIRE),tmpfs
endif

# Property tests draw the same cases at each «make test», which is to fail for a change and not for luck. «make check»
# draws new ones.
SEED ?= 1

.PHONY: help build demo test test-deps check bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## bin/holdfast, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/holdfast ./cmd/holdfast

demo: build ## back up, damage, compare and restore a sample SQLite database
	bin/holdfast demo

test-deps: ## install what the tests need (as root on Debian), or say what is missing
	scripts/test-deps.sh

test: test-deps ## all tests, with real PostgreSQL 15, 17 and 18, MariaDB and MySQL
	HOLDFAST_REQUIRE='$(REQUIRE)' RAPID_SEED=$(SEED) go test -timeout $(TIMEOUT) ./...

check: test-deps ## the gate for every change: format, vet, staticcheck, govulncheck, tests under the race detector
	scripts/check.sh
	HOLDFAST_REQUIRE='$(REQUIRE)' go test -race -timeout 60m ./...

bench: build ## compare with pg_dump, pg_restore, gpg and restic; writes bench/RESULTS.md
	scripts/test-deps.sh --bench
	go run ./bench $(BENCHFLAGS)

clean: ## remove what the other targets made here (not the servers for tests: see scripts/test-deps.sh)
	rm -rf bin demo bench/data
