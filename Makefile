# make help lists what there is. Everything sets itself up (scripts/deps) and
# works as root on a fresh Debian 12, whatever its PID 1 is.
SHELL   := /bin/bash -o pipefail
VERSION := $(shell dpkg-parsechangelog -SVersion)
ARCH    := $(shell dpkg --print-architecture)
DEB     := build/arasul_$(VERSION)_$(ARCH).deb
PAGE    := web/dist/index.html
export PATH := $(CURDIR)/.tools:/usr/local/go/bin:$(PATH)

# What goes into the package: it is built anew when one of them is newer.
SOURCES := $(shell git ls-files cmd pkg migrations debian systemd udev logrotate go.mod go.sum)
WEB     := $(shell git ls-files web)

.PHONY: help run test check deb install soak faults powercut fuzz bench clean generate

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

run: ## boot a machine with the package in it and print the address of its dashboard
	@scripts/deps run
	@$(MAKE) --no-print-directory $(DEB)
	@scripts/run $(DEB)

test: ## everything: check, lintian, the machine, the box
	@scripts/deps
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory $(DEB)
	scripts/proof/run $(DEB)

check: ## format, vet, lint and unit tests, in under three minutes
	@scripts/deps check
	scripts/check

deb: ## build the package into build/
	@scripts/deps build
	@$(MAKE) --no-print-directory $(DEB)

$(PAGE): $(WEB)
	cd web && npm run build
	@touch $@

$(DEB): $(SOURCES) $(PAGE)
	@mkdir -p build
	DEBDIR=$(CURDIR)/build dpkg-buildpackage --rules-target=clean,binary
	@ls -l $@

install: deb ## install the package on this machine, which must run systemd
	@[ -d /run/systemd/system ] || { echo "this machine does not run systemd; try: make run" >&2; exit 1; }
	apt-get install -y --allow-downgrades ./$(DEB)

soak: ## an hour of full load without an action that was not needed (SOAK=10m: shorter)
	@scripts/deps run
	@$(MAKE) --no-print-directory $(DEB)
	ARASUL_DEB=$(CURDIR)/$(DEB) ARASUL_SOAK=$(or $(SOAK),1h) go test -count=1 -v -timeout 0 -tags machine ./scripts/proof/ -run TestFullLoad

faults: ## hurt the emulated box in its memory, disk, clock and power (half an hour)
	@scripts/deps
	@$(MAKE) --no-print-directory $(DEB)
	ARASUL_DEB=$(CURDIR)/$(DEB) go test -count=1 -v -timeout 60m -tags box,faults ./scripts/proof/

powercut: ## cut the power in updates and rollbacks (N=200: how often, half a minute each; BED=box: emulated, minutes each)
	@scripts/deps
	@$(MAKE) --no-print-directory $(DEB)
	ARASUL_DEB=$(CURDIR)/$(DEB) ARASUL_POWERCUTS=$(or $(N),20) go test -count=1 -v -timeout 0 -tags $(or $(BED),machine) ./scripts/proof/ -run TestPowerCuts

fuzz: ## fuzz whatever reads an update or a stick (N=10000000: executions of each target)
	@scripts/deps check
	scripts/fuzz $(or $(N),1000000) ./pkg/bundle ./pkg/update ./pkg/usb

bench: ## measure what docs/figures.md says
	@scripts/deps
	@$(MAKE) --no-print-directory $(DEB)
	scripts/bench/run $(DEB)

generate: ## write docs/openapi.json and the page's types anew
	go test ./pkg/dashboard -run TestOpenAPI -update
	cd web && npm run types

clean: ## remove what was built; the test beds' cache stays
	rm -rf build web/dist/assets web/dist/index.html*
	dh_clean
