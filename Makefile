# `make up` and `make test` do all the set-up that they need; `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

# One a core.
UNIT_WORKERS ?= 2

# The integration tests mostly wait; on two cores three workers are the fastest.
INTEGRATION_WORKERS ?= 3

# Each worker of the end-to-end tests has a cluster of its own.
E2E_WORKERS ?= 3

# What costs minutes.
DURATIONS := --durations=12 --durations-min=45

# The tests start the program hundreds of times; with compiled modules each start is 0.15 s faster.
unexport PYTHONDONTWRITEBYTECODE

# With less garbage collection a command of Pulumi is 15 % faster, and takes 6 % more memory. Not in a benchmark.
test-integration test-edits test-faults test-e2e: export GOGC ?= 400

# The number of sequences of `make test-edits`; about 30 seconds each with three workers.
EDIT_SEQUENCES ?= 200

# The inputs of each test of `make test-input`; the other targets try 100.
INPUTS ?= 10000

# The kind of the nodes of a new embedded cluster: simulated, or containerd (they run containers; Linux and root).
NODE ?=

# The load of `make report` and `make soak`: players, and new connections per second.
PLAYERS ?= 200
CONNECTS ?= 100

# The length of `make soak`, and the seed of its edits.
SOAK_MINUTES ?= 120
SOAK_SEED ?= 1

# Each round of `make bench` takes about five minutes.
ROUNDS ?= 3

.PHONY: help up demo shell down test lint format test-unit test-go test-alerts test-integration test-edits test-faults \
    test-input test-mutants test-e2e test-autoscaling report report-fleet soak sizing bench bench-scale docs previews \
    lock clean-tools

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# The locked packages, verified by their hashes.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed (make PYTHON=python3.12 …); this is " + sys.version)'
	@echo "creating the virtual environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

up: .venv/installed  ## install tools, start the embedded cluster, update the dev stack (NODE=containerd: with running pods)
	@$(BIN)/python -m testbed.dev_stack $(if $(NODE),--nodes $(NODE))

demo: .venv/installed  ## run the article's three scenarios on the dev stack
	@$(BIN)/python -m testbed.demo

shell: .venv/installed  ## open a shell in which pulumi, rollout and kubectl use the dev stack
	@$(BIN)/python -m testbed shell

down: .venv/installed  ## remove the embedded cluster and the dev stack
	@$(BIN)/python -m testbed delete

test: lint test-unit test-go test-alerts test-integration test-e2e  ## run all checks and tests

lint: .venv/installed  ## check style, format, types, the GitHub workflows and the manifests of the stacks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/python -m testbed go tool -C ../pins/actionlint actionlint -pyflakes= \
	    -ignore 'unexpected key "queue" for "concurrency"' -shellcheck $(abspath $(BIN)/shellcheck) \
	    $(abspath $(wildcard .github/workflows/*.yml))
	$(MAKE) --no-print-directory lint-manifests

# The manifests of the committed stacks, checked by kube-score, checkov and kubeconform. The findings that are ignored:
#   CPU limit                 Throttling stalls every viewer of a pod.
#   ephemeral storage         The file system is read-only, and its volumes have a size limit. A limit would count the
#                             log, too, and evict a pod with its connections.
#   pull policy, digests      Tags are versions. Always would make each restart depend on the registry.
#   user and group 1000       What is on the volume of HLS belongs to them.
#   identical probes          A full SRS can answer nothing else (ossrs/srs #4409). They differ in their patience: out of
#                             rotation after 30 s, restarted after 5 minutes.
#   anti-affinity, replicas   Spread is by topology and a preference, because draining pods accumulate; small stacks.
#   egress                    Hooks and forwarding of srs.conf go where the operator says.
#   NodePort                  The dev stack.
#   probes of nginx, demo     They end when they fail, and the demo has no clients.
KUBE_SCORE_IGNORED := container-ephemeral-storage-request-and-limit container-image-pull-policy \
    container-security-context-user-group-id pod-probes-identical deployment-has-host-podantiaffinity \
    statefulset-has-host-podantiaffinity deployment-replicas pod-networkpolicy service-type
CHECKOV_IGNORED := CKV_K8S_8,CKV_K8S_9,CKV_K8S_11,CKV_K8S_15,CKV_K8S_40,CKV_K8S_43

.PHONY: lint-manifests
lint-manifests: .venv/installed .venv-checkov/installed  ## check the manifests of the committed stacks
	@rm -rf .manifests
	@$(BIN)/python tests/manifests.py .manifests
	@$(BIN)/python -m testbed go tool -C ../pins/kube-score kube-score score --output-format ci --exit-one-on-warning \
	    --ignore-container-cpu-limit $(addprefix --ignore-test ,$(KUBE_SCORE_IGNORED)) \
	    $(foreach stack,dev staging prod,$(abspath .manifests/$(stack).yaml)) >.manifests/kube-score.txt \
	    || { grep -Ev '^\[(OK|SKIPPED)\]' .manifests/kube-score.txt; exit 1; }
	@.venv-checkov/bin/checkov --framework kubernetes --quiet --compact --skip-download -d .manifests \
	    --skip-check $(CHECKOV_IGNORED)
	@$(BIN)/python -m testbed go mod download -C ../pins/kubernetes k8s.io/kubernetes
	@$(BIN)/python tests/schemas.py .manifests/schemas \
	    "$$($(BIN)/python -m testbed go list -C ../pins/kubernetes -m -f '{{.Dir}}' k8s.io/kubernetes)"
	@$(BIN)/python -m testbed go tool -C ../pins/kubeconform kubeconform -strict -summary \
	    -schema-location '$(abspath .manifests/schemas)/{{.ResourceKind}}{{.KindSuffix}}.json' \
	    $(foreach stack,dev staging prod,$(abspath .manifests/$(stack).yaml))

# In an environment of its own: it needs other versions than the project.
.venv-checkov/installed: testbed/pins/checkov/requirements.txt
	@$(PYTHON) -m venv .venv-checkov
	@.venv-checkov/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

format: .venv/installed  ## fix style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-unit: .venv/installed  ## test pure functions, models, and components with Pulumi's mocks
	$(BIN)/python -m pytest tests/unit -n $(UNIT_WORKERS)

test-go: .venv/installed  ## vet and test the Go programs of the testbed
	$(BIN)/python -m testbed go vet ./...
	$(BIN)/python -m testbed go test ./...

# The tags leave out what discovers targets in clouds, half of the build.
test-alerts: .venv/installed  ## test what the alert rules fire on, with promtool
	@$(BIN)/python tests/alerts.py .manifests/alerts.json
	GOFLAGS=-tags=remove_all_sd,enable_kubernetes_sd \
	    $(BIN)/python -m testbed go tool -C ../pins/prometheus promtool test rules $(abspath tests/alerts.yaml)

test-integration: .venv/installed  ## test with Pulumi's engine on the embedded cluster
	$(BIN)/python -m testbed tools --cloud
	$(BIN)/python -m pytest tests/integration -n $(INTEGRATION_WORKERS) $(DURATIONS)

test-edits: .venv/installed  ## test EDIT_SEQUENCES (200) sequences of edits, manual changes and events (EDIT_SEED: other ones)
	$(BIN)/python -m testbed tools
	EDIT_SEQUENCES=$(EDIT_SEQUENCES) $(BIN)/python -m pytest tests/integration/test_edit_sequences.py \
	    -n $(INTEGRATION_WORKERS) -rP

# In a folder of its own: it needs the packages of the project, and the project does not need its.
.mutmut/installed: testbed/pins/mutmut/requirements.txt | .venv/installed
	@rm -rf .mutmut
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --target .mutmut -r $<
	@touch $@

test-mutants: .venv/installed .mutmut/installed  ## test the unit tests of updates and canaries with mutants (hours; MUTANTS='update.plan.*': these again)
	@$(if $(MUTANTS),,rm -rf mutants)
	-PYTHONPATH=.mutmut $(BIN)/python -m mutmut run --max-children $(UNIT_WORKERS) $(foreach mutant,$(MUTANTS),'$(mutant)')
	PYTHONPATH=.mutmut $(BIN)/python tests/mutants.py

test-faults: .venv/installed  ## test all faults of the API server, the state and the machine, and full edges (20 minutes)
	$(BIN)/python -m testbed tools
	SRS_FAULTS=1 $(BIN)/python -m pytest tests/integration/test_faults.py tests/integration/test_lost_node.py \
	    tests/e2e/test_outages.py::test_full_edges_keep_their_viewers $(DURATIONS)

# SRS_BINARIES: paths of objs/srs of several versions, separated by colons; they read each srs.conf that is accepted.
test-input: .venv/installed  ## test INPUTS (10000) mutated stack files, texts and srs.conf, and what the API server says to them
	$(BIN)/python -m testbed tools
	INPUTS=$(INPUTS) $(BIN)/python -m pytest --timeout 7200 -n $(UNIT_WORKERS) -rP $(DURATIONS) tests/unit/model/config/test_fuzz.py \
	    tests/unit/model/desired/test_injection.py tests/unit/rollout/stack/test_stack_file.py -k "mutated or text"
	INPUTS=$(INPUTS) $(BIN)/python -m pytest --timeout 7200 -n $(UNIT_WORKERS) -rP tests/integration/test_bad_input.py

test-e2e: .venv/installed  ## test connections to running pods (Linux, root; SRS_IMAGES: with real SRS)
	$(BIN)/python -m testbed tools
	@for name in controller speaker; do \
	    $(BIN)/python -m testbed go tool -C ../pins/metallb -n go.universe.tf/metallb/$$name >/dev/null || exit; done
	$(BIN)/python -m pytest tests/e2e -n $(E2E_WORKERS) --maxschedchunk 1 $(DURATIONS)

# KEDA is the largest build of all, and no other test needs it.
test-autoscaling: .venv/installed  ## test autoscaling with real KEDA, metrics-server and Prometheus (on request; Linux, root)
	$(BIN)/python -m testbed tools
	@for tool in keda:github.com/kedacore/keda/v2/cmd/operator keda:github.com/kedacore/keda/v2/cmd/adapter \
	    metrics-server:metrics-server; do \
	    $(BIN)/python -m testbed go tool -C ../pins/$${tool%%:*} -n $${tool#*:} >/dev/null || exit; done
	SRS_AUTOSCALING=1 SRS_REPORT=$(CURDIR)/.testbed-report/autoscaling \
	    $(BIN)/python -m pytest tests/e2e/test_autoscaling.py $(DURATIONS)

report-fleet: test-autoscaling  ## run these tests, print their figures, and draw docs/autoscaling.png
	$(BIN)/python -m report.autoscaling .testbed-report/autoscaling/connections.json docs/autoscaling.png

report: .venv/installed  ## run the end-to-end tests with PLAYERS and CONNECTS, and write the report to docs/
	$(BIN)/python -m testbed tools
	$(BIN)/python -m report --players $(PLAYERS) --connects $(CONNECTS)

# The page is written also when a rule is broken or the run is ended early: the record is written while it runs.
soak: .venv/installed  ## change a stack every two minutes for SOAK_MINUTES (120), and write docs/soak.md (on request; SRS_IMAGES)
	$(BIN)/python -m testbed tools
	SRS_SOAK=$(SOAK_MINUTES) SRS_SOAK_SEED=$(SOAK_SEED) SRS_PLAYERS=$(PLAYERS) SRS_CONNECTS=$(CONNECTS) \
	    SRS_REPORT=$(CURDIR)/.testbed-report/soak $(BIN)/python -m pytest tests/e2e/test_soak.py -s; code=$$?; \
	    $(BIN)/python -m report.soak .testbed-report/soak/soak.json && exit $$code

sizing: .venv/installed  ## measure what viewers, connections and streams cost SRS, and write docs/sizing.md (on request; SRS_IMAGES)
	$(BIN)/python -m testbed tools
	SRS_SIZING=1 SRS_REPORT=$(CURDIR)/.testbed-report/sizing $(BIN)/python -m pytest tests/e2e/test_sizing.py -s
	$(BIN)/python -m report.sizing .testbed-report/sizing/sizing.json

bench: .venv/installed  ## measure updates and previews beside other tools, and write docs/performance.md (ROUNDS, 3)
	@$(BIN)/python -m bench --rounds $(ROUNDS)

bench-scale: .venv/installed  ## measure how time, memory and API requests grow, and write docs/scale.md
	@$(BIN)/python -m bench.scale

docs: .venv/installed  ## generate the references of the config and of the command `rollout`
	$(BIN)/python -m docgen.config_reference > docs/config.md
	$(BIN)/python -m docgen.dashboard > docs/dashboard.json
	$(BIN)/python -m docgen.rollout_reference > docs/rollout.md
	$(BIN)/python -m docgen.promises > docs/promises.md
	$(BIN)/python -m docgen.reasons > docs/reasons.md
	$(BIN)/python -m update.plan_json > docs/plan.schema.json

previews: .venv/installed  ## generate docs/previews.md from real previews
	@$(BIN)/python -m docgen.previews

LOCK := -m uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

lock: .venv/installed  ## generate requirements.txt from pyproject.toml, and that of mutmut with the same versions
	$(BIN)/python $(LOCK) --group dev pyproject.toml --output-file requirements.txt
	$(BIN)/python $(LOCK) --constraint requirements.txt testbed/pins/mutmut/requirements.in \
	    --output-file testbed/pins/mutmut/requirements.txt

clean-tools: .venv/installed  ## remove the cache of tools
	@$(BIN)/python -m testbed clean-tools
