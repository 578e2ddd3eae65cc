# Carbyne: the commands of a working day. `make` alone lists them.
#
# Everything that is downloaded or built lives outside the checkout, in CARBYNE_CACHE, so that a
# fresh clone starts warm and `git clean` costs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARBYNE_CACHE ?= $(HOME)/.cache/carbyne
CARGO_TARGET_DIR ?= $(CARBYNE_CACHE)/target
CARGO ?= cargo
PLATFORM ?= deploy/examples/platform
# What the side-by-side run is given, e.g. make bench BENCH='--scenario h1-keepalive --quick'.
BENCH ?= --callgrind=ours,gateway
# Only the suites whose name contains one of these words.
SUITES ?=
# 1: every case of the long suites instead of a seeded slice.
FULL ?=

export CARBYNE_CACHE CARGO_TARGET_DIR FULL
# The tools that setup installed win over what the machine has.
export PATH := $(CARBYNE_CACHE)/tools/bin:$(PATH)

PROGRAMS := carbyne carbyne-proxy carbyne-gateway
# A gateway that can ship its own events; a plain `cargo build` leaves the Kafka client out.
BUILD := $(CARGO) build --locked --features carbyne-gateway/kafka $(foreach p,$(PROGRAMS),--bin $(p))
# What `carbyne up` is given, e.g. make up UP=--with-kafka.
UP ?=

.PHONY: help up test bench check release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

up: ## run the platform on this machine: control plane, gateway, services, sidecars (no root); UP='…' passes options
	@.ci/setup up
	@$(if $(findstring --with-kafka,$(UP)),.ci/setup kafka)
	@$(BUILD) --profile quick
	@exec "$(CARGO_TARGET_DIR)/quick/carbyne" up "$(PLATFORM)" $(UP)

test: ## all suites, with their times and counts (root: network namespaces); FULL=1 runs every case
	@.ci/setup test
	@.ci/suites $(SUITES)

bench: ## the side-by-side run against Envoy, nginx, HAProxy and pingora-proxy; BENCH='…' passes options
	@.ci/setup bench
	@$(BUILD) --release
	@$(CARGO) build --locked --release -p carbyne-benches
	@$(CARGO) build --locked --release --manifest-path benches/pingora/Cargo.toml \
		--target-dir "$(CARGO_TARGET_DIR)/pingora"
	@"$(CARGO_TARGET_DIR)/release/bench" --target-dir "$(CARGO_TARGET_DIR)" --platform "$(PLATFORM)" $(BENCH)

check: ## format, clippy with the workspace lints, licences, bans and sources
	@.ci/setup check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets --features carbyne-gateway/kafka -- -D warnings
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

release: ## build the programs with the release profile and print their paths
	@.ci/setup release
	@$(BUILD) --release
	@for program in $(PROGRAMS); do echo "$(CARGO_TARGET_DIR)/release/$$program"; done
