# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

# The race detector needs a C compiler; without one the tests run without it.
ifneq ($(shell command -v $(firstword $(shell go env CC)) 2>/dev/null),)
RACE := -race
endif

# Most tests wait for processes and timers more than they compute.
PACKAGES := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run everything on this machine until Ctrl-C; ARGS='-h' lists the flags
	go run ./scripts/synchronizer run $(ARGS)

.PHONY: demo
demo: ## Run the hello-world example from beginning to end and check it
	go run ./scripts/demo

.PHONY: test
test: lint ## Run all checks and tests
	$(if $(RACE),,@echo 'no C compiler found: the tests run without the race detector')
	@echo '== generated files' && scripts/generate.sh --check
	@echo '== tests, a line for each package' && go test $(RACE) -p $(PACKAGES) -timeout 30m ./...
	@echo '== the page "Your own synchronizer", with a stop-watch'
	go test -count 1 -v -run TestPage ./scripts/synchronizer/pagetest -limit 1m
	@echo '== a minute of changes, kills and a failing network'
	go run ./scripts/soak -duration 60s
	@echo '== fuzzing, 10 s for each target' && FUZZCACHE="$$(mktemp -d)" scripts/fuzz.sh --light 10s

# How long each target runs.
FUZZTIME ?= 2m

.PHONY: fuzz
fuzz: ## Run all fuzz targets for FUZZTIME each, 2m by default; ARGS=WORD chooses those with it in package or name
	scripts/fuzz.sh $(FUZZTIME) $(ARGS)

.PHONY: histories
histories: ## Generate 10,000 histories of the protocol with faults, and check that each converges
	go test -count 1 -v -run TestHistories ./pkg/source -histories 10000 $(ARGS)

.PHONY: soak
soak: ## Change, kill, stop and cut on this machine, then count what is lost; ARGS='-duration 10m'
	go run ./scripts/soak $(ARGS)

.PHONY: mutants
mutants: ## Switch off one safety mechanism at a time, and show which test notices it
	go run ./scripts/mutants $(ARGS)

.PHONY: bench
bench: ## Measure side by side with an operator and with the bare writes; ARGS='-h' lists the flags
	go run ./scripts/bench $(ARGS)

.PHONY: e2e
e2e: ## Check everything on the cluster of KUBECONFIG, images go to KO_DOCKER_REPO; ARGS='-h' lists the flags
	go run ./scripts/e2e $(ARGS)

.PHONY: images
images: ## Build all images with ko, for amd64 and arm64, and print their sizes
	go run ./scripts/images $(ARGS)

.PHONY: generate
generate: ## Make what comes from Go types and steps: deep copies, CRDs, the resources of hello-world
	scripts/generate.sh

.PHONY: lint
lint: ## Run gofmt, go vet and staticcheck
	@echo '== gofmt, go vet, staticcheck'
	@test -z "$$(gofmt -l functions pkg scripts)" || { gofmt -l functions pkg scripts; echo 'the files above are not formatted: run gofmt -w on them'; exit 1; }
	go vet ./...
	go tool staticcheck ./...
