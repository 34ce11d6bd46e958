# varve. make alone prints the targets.

GO      ?= go
BIN     := bin/varve
# A folder of *.img.gz images to read; the test of it says SKIP where there is none.
CORPUS  ?= $(wildcard $(CURDIR)/../shared/corpus)
FUZZTIME ?= 30s
# Crash states of concurrent actors in make crash and crash-fs, for each form.
CONCURRENT ?= 20000
# Power cuts and kills in crash-apps, for each application and mode.
APPS_CUTS ?= 20
APPS_KILLS ?= 5
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo devel)

# Programs that the tests need beside Go, with their Debian packages.
PROGRAMS := mdl:ruby-mdl mkfs.ext4:e2fsprogs fsverity:fsverity fusermount3:fuse3 setfacl:acl setfattr:attr losetup:mount sfdisk:fdisk gcc:gcc fio:fio dbench:dbench sqlite3:sqlite3 git:git
# Programs that crash-apps needs beside them.
APPS     := pg_ctlcluster:postgresql
BENCH    := fuse2fs:fuse2fs stress-ng:stress-ng
MISSING   = $(sort $(foreach p,$(1),$(if $(shell PATH=$$PATH:/sbin:/usr/sbin command -v $(firstword $(subst :, ,$(p)))),,$(lastword $(subst :, ,$(p))))))

export PATH := $(PATH):/sbin:/usr/sbin

.PHONY: help build demo test everything deps check unit race race-packages race-mounts race-all announce invariants forms soak soak-fs combos crash crash-fs crash-apps apps-deps fuzz bench-mount bench-engine bench-cache bench-deps install uninstall clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/varve, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/varve

demo: deps build ## make an image, mount it, verify every byte, unmount; then race 120 writers on one block
	$(BIN) demo
	$(BIN) stress --workload hot

RUNGS := check unit race

test: deps ## every rung, with the time of each: check, unit and mounted tests (invariants checked), race
	@for rung in $(RUNGS); do began=$$(date +%s); $(MAKE) --no-print-directory $$rung CORPUS="$(CORPUS)" || exit 1; \
		echo "rung $$rung: $$(($$(date +%s) - began)) s"; done
	@$(MAKE) --no-print-directory announce CORPUS="$(CORPUS)"

everything: test forms invariants race-all soak soak-fs combos crash crash-fs crash-apps fuzz ## the tests, and every long run

# go test prints no reasons of skipped tests without -v.
announce:
	@[ -e /dev/fuse ] || echo "SKIP: there is no /dev/fuse, so nothing was mounted with varve"
	@[ "$$(id -u)" = 0 ] || echo "SKIP: not root, so nothing was compared with the kernel's ext4"
	@echo "SKIP: stress-ng, which make soak-fs runs"
	@echo "SKIP: forms of mounts and images that are not today's; make forms runs them all"
	@echo "SKIP: sync(2) in TestSyncFS, where it does not return within 20 s; syncfs(2) is always tested"
	@[ -n "$(CORPUS)" ] || echo "SKIP: CORPUS names no folder of odd and damaged images"

deps: ## install the Debian packages that the checks and tests need (as root)
	@$(call install,$(call MISSING,$(PROGRAMS)))

lint-deps:
	@$(call install,$(call MISSING,mdl:ruby-mdl))

apps-deps:
	@$(call install,$(call MISSING,$(PROGRAMS) $(APPS)))

bench-deps:
	@$(call install,$(call MISSING,$(PROGRAMS) $(BENCH)))

define install
if [ -n "$(strip $(1))" ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing: $(strip $(1))"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(strip $(1)) $(if $(filter gcc,$(1)),libc6-dev) >/dev/null; \
	else echo "missing, please install: $(strip $(1))" >&2; exit 1; fi; fi
endef

check: lint-deps ## format, length of lines, Markdown, vet, staticcheck
	@out="$$(gofmt -l $$(git ls-files '*.go'))"; [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) tool editorconfig-checker
	mdl --git-recurse .
	$(GO) vet -tags $(HOOKS) ./...
	$(GO) vet $$($(GO) list -tags $(HOOKS) -f '{{if .IgnoredGoFiles}}{{.ImportPath}}{{end}}' ./...)
	$(GO) tool staticcheck -tags $(HOOKS) ./...

# The tags of a build with all that tests switch on. check and unit have the same, so that one build does for both.
HOOKS := testhooks,invariants
# go test begins with these, in this order: the longest must not be the last ones, which one core runs alone.
LONGEST := ./cmd/varve ./internal/volume ./ext4 ./stress/files

unit: ## unit and mounted tests, with the test hooks and the engine's invariants checked
	VARVE_CORPUS=$(CORPUS) $(GO) test -tags $(HOOKS) -count=1 -timeout 20m -parallel 4 $(LONGEST) ./...

forms: ## the tests that take another share of their forms each day, with every form
	VARVE_CORPUS=$(CORPUS) VARVE_ALL_FORMS=1 VARVE_ERRNO_ALL=1 $(GO) test -tags $(HOOKS) -count=1 -timeout 60m \
		-run 'TestRW_(Posix|Tools|Exerciser|Stressors|Errno)|TestOracle|TestReplay|TestLook|TestResize|TestFast' ./cmd/varve ./ext4 ./internal/volume

# The packages with concurrency. The unit rung has mounts in all their forms; the race rung has them once, and of
# internal/volume the tests where goroutines meet. race-all has everything.
RACE := ./blockcache ./wal ./mvcc ./fuse ./internal/evidence ./stress
RACE_VOLUME := Concurrent|TestWindows|TestGate|TestSlowReader|TestGroups|TestFault|TestFull_Pinned|TestFull_Promised|TestTmpfile|TestTruncate|TestBitmaps_Churn|TestOverlay|TestLog_Recovers|TestInline_Kernel

race: ## the packages with concurrency, and mounts once, under the race detector
	@$(GO) build -race ./... # once, for both
	@$(MAKE) --no-print-directory -j2 race-packages race-mounts

race-packages:
	$(GO) test -race -count=1 -timeout 20m $(RACE)
	$(GO) test -race -count=1 -timeout 20m -run '$(RACE_VOLUME)' ./internal/volume

race-mounts:
	$(GO) test -race -count=1 -timeout 20m -run 'TestMount_(Lifecycle|Concurrent|ReadOnly)|TestRW_(Posix|Exerciser|DirectSync)|TestStats' ./cmd/varve

race-all: ## every test under the race detector
	VARVE_RACE_ALL=1 VARVE_CORPUS=$(CORPUS) $(GO) test -race -count=1 -timeout 60m $$($(GO) list ./... | grep -v stress/files)

invariants: ## the engine's tests with its invariants checked while they run
	$(GO) test -tags invariants -count=1 -timeout 10m ./internal/invariant ./wal ./mvcc ./stress

soak: ## the engine's long runs: every workload under each policy and both levels, many kills
	$(GO) run ./cmd/varve stress --duration 10s
	$(GO) run ./cmd/varve stress --duration 10s --isolation serializable
	$(GO) run ./cmd/varve stress --duration 10s --durable --writers 1024
	VARVE_KILL_ROUNDS=100 $(GO) test -count=1 -timeout 30m -run TestKill -v ./stress

soak-fs: bench-deps ## the file system's long runs: 50 kills of a mount in each mode, 100,000 steps of the exerciser, power cuts, every errno, 96 modes
	VARVE_ALL_FORMS=1 VARVE_KILL_ROUNDS=50 VARVE_FSX_STEPS=100000 VARVE_ERRNO_ALL=1 VARVE_STRESS_SECONDS=3 $(GO) test -count=1 -timeout 60m -run 'TestRW|TestOverlay' -v ./cmd/varve
	VARVE_ALL_FORMS=1 VARVE_ORACLE_ALL=1 $(GO) test -count=1 -timeout 30m -run TestOracle ./cmd/varve
	VARVE_RW_ALL=1 VARVE_FSX_STEPS=1000 $(GO) test -count=1 -timeout 60m -run 'TestRW_(Posix|Tools|Exerciser)' ./cmd/varve
	VARVE_CRASH_ROUNDS=2000 $(GO) test -count=1 -timeout 30m -run TestCrash_Concurrent -v ./internal/volume

combos: ## 200 random combinations of mke2fs's options, written to by varve and by the kernel; COMBO=N begins with seed N
	VARVE_COMBO_SEED=$(or $(COMBO),1) VARVE_COMBO_ROUNDS=200 $(GO) test -count=1 -timeout 30m -run TestCombos -v ./internal/volume

crash: ## explore 100,000 crash states of the engine, and 20,000 of concurrent writers; switch off each promise on purpose
	VARVE_CRASH_STATES=100000 VARVE_CRASH_CONCURRENT=$(CONCURRENT) $(GO) test -tags testhooks -count=1 -timeout 30m -run 'TestCrash|TestInterleavings' -v ./stress

crash-fs: ## explore 20,000 crash states of file systems, with e2fsck and the kernel as judges, and 20,000 of concurrent operations in each of four forms; switch off each promise
	VARVE_CRASH_FS_STATES=$(or $(STATES),20000) VARVE_CRASH_FSCK=8 VARVE_CRASH_KERNEL=60 VARVE_CRASH_CONCURRENT=$(CONCURRENT) \
		VARVE_CRASH_UNLOGGED=2000 VARVE_MODEL_STEPS=5000 \
		$(GO) test -tags testhooks -count=1 -timeout 80m -run 'TestCrash|TestConcurrent|TestCuts|TestModel' -v ./stress/files

crash-apps: apps-deps ## cut the power below sqlite, git, a maildir, bbolt and PostgreSQL in four modes, and kill the daemon
	VARVE_APPS_CUTS=$(APPS_CUTS) VARVE_APPS_KILLS=$(APPS_KILLS) $(GO) test -tags testhooks -count=1 -timeout 120m -v -run TestApps ./stress/apps

fuzz: ## fuzz each decoder, and whole images, for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; done; done

bench-mount: bench-deps build ## compare the mount with the kernel's ext4 and fuse2fs
	$(GO) run ./bench/mount -varve $(BIN)
	$(GO) run ./bench/write -varve $(BIN)

bench-engine: ## compare the engine with bbolt, badger and pebble
	cd bench/peers && $(GO) run ./engine

bench-cache: build ## replay recorded block traces through several caches (IMAGE=FILE, see docs/cache.md)
	cd bench/peers && $(GO) test ./cache && $(GO) run ./cache -varve $(CURDIR)/$(BIN) -image $(abspath $(IMAGE))

HELPERS = mount.varve mount.fuse.varve umount.varve umount.fuse.varve
SHARE = $(DESTDIR)/usr/local/share
# where bash-completion, zsh and fish look for a program's completions
BASH_COMPLETION = $(SHARE)/bash-completion/completions/varve
ZSH_COMPLETION = $(SHARE)/zsh/site-functions/_varve
FISH_COMPLETION = $(SHARE)/fish/vendor_completions.d/varve.fish

install: build ## install varve, its mount helpers, manual pages and shell completions
	install -D $(BIN) $(DESTDIR)/usr/local/bin/varve
	mkdir -p $(DESTDIR)/sbin
	for h in $(HELPERS); do ln -sf /usr/local/bin/varve $(DESTDIR)/sbin/$$h; done
	mkdir -p $(SHARE)/man/man8 && $(BIN) man $(SHARE)/man/man8
	mkdir -p $(dir $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION))
	$(BIN) completion bash >$(BASH_COMPLETION)
	$(BIN) completion zsh >$(ZSH_COMPLETION)
	$(BIN) completion fish >$(FISH_COMPLETION)

uninstall: ## remove what install has installed
	rm -f $(DESTDIR)/usr/local/bin/varve $(addprefix $(DESTDIR)/sbin/,$(HELPERS))
	rm -f $(SHARE)/man/man8/varve.8 $(SHARE)/man/man8/varve-*.8
	rm -f $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION)

clean: ## remove what was built
	rm -rf bin
