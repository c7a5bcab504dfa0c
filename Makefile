# Everything sets itself up: two virtual environments more than one would expect, for Prefect and
# the AWS emulator must see their own packages only, as on their own machines.

PYTHON ?= python3
UV := .venv/bin/uv
RUN := PYTHONPATH=.:lambdas JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=20

.PHONY: help setup demo demo-prefect1 run cli test faults check-legacy check-ecs-worker check-prefect2 lint benchmarks bench bench-calls bench-kills bench-back-pressure clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .venv/done .venv-prefect/done .venv-emulator/done node_modules/done ## Install what the others need

demo: setup ## Play twenty flow runs through the deployed agent on this machine; KEEP=1 leaves it up
	$(RUN) .venv/bin/python -m local.demo $(if $(KEEP),--keep)

demo-prefect1: setup ## The same with Prefect 1: twelve runs, played by a stand-in of its server
	$(RUN) .venv/bin/python -m local.demo_prefect1

run: setup ## Run the agent of AGENT=agent.toml on this machine; POLLS=3 ends it after three polls
	$(RUN) .venv/bin/python -m local run --agent $(or $(AGENT),agent.toml) $(if $(POLLS),--max-polls $(POLLS))

cli: setup ## Run the agent's command line: make cli DO="plan load-orders"
	@$(RUN) .venv/bin/python fargate-agent $(DO)

test: setup lint ## Lint, format and type checks, and all tests
	$(RUN) ROUNDS=$(or $(ROUNDS),0.4) .venv/bin/pytest -n 2 --dist loadgroup -q

faults: setup ## Everything goes wrong, in virtual time; SEED= and ROUNDS=10 play other and more faults
	@$(RUN) $(if $(SEED),SEED=$(SEED)) $(if $(ROUNDS),ROUNDS=$(ROUNDS)) .venv/bin/pytest -n 2 --dist loadgroup -q tests/faults

check-legacy: setup ## Run the real Prefect 1 agent against the stand-in of its server
	$(RUN) .venv/bin/pytest -q -s tests/optional/test_real_legacy_agent.py

check-ecs-worker: setup ## Run the real ECS worker beside this agent on generated work pools
	$(RUN) .venv/bin/pytest -q -s tests/optional/test_real_ecs_worker.py

check-prefect2: setup .venv-prefect2/done ## Run the functions against a real server of Prefect 2
	$(RUN) .venv/bin/pytest -q tests/integration -k 'not prefect1 and not legacy' -m 'not prefect3' \
		--prefect-bin .venv-prefect2/bin

lint: setup
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy

benchmarks: setup .venv-prefect/done ## All benchmarks, for docs/; PART=cold-start|side-by-side|kills|scale|cost one
	$(RUN) .venv/bin/python -m benchmarks $(PART)

bench: setup ## Measure the bundle, the handlers' cold starts and their memory
	$(RUN) .venv/bin/python -m benchmarks.cold_start

bench-calls: setup ## Count what a launch calls, beside the real ECS worker
	$(RUN) .venv/bin/python -m benchmarks.calls

bench-back-pressure: setup ## Launch 2,000 runs that are due at once against the limits of ECS; draw it
	$(RUN) .venv/bin/python -m benchmarks.back_pressure

bench-kills: setup ## Kill this agent and the real ECS worker at every call of a launch, side by side
	$(RUN) .venv/bin/python -m benchmarks.kills

clean: ## Remove everything that setup installed
	rm -rf .venv .venv-prefect .venv-prefect2 .venv-emulator .venv-worker .venv-lambda .venv-legacy node_modules cdk.out

.venv/done: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one with PYTHON=")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.txt)
	$(UV) pip install --quiet --python .venv/bin/python -r requirements-dev.txt
	@touch $@

.venv-prefect/done: local/requirements-prefect.txt .venv/done
	$(UV) venv --quiet --clear --python .venv/bin/python .venv-prefect
	$(UV) pip install --quiet --python .venv-prefect/bin/python -r local/requirements-prefect.txt
	@touch $@

.venv-prefect2/done: .venv/done
	$(UV) venv --quiet --clear --python .venv/bin/python .venv-prefect2
	$(UV) pip install --quiet --python .venv-prefect2/bin/python prefect==2.20.22 'anyio<4.10'
	@touch $@

.venv-emulator/done: local/requirements-emulator.txt .venv/done
	$(UV) venv --quiet --clear --python .venv/bin/python .venv-emulator
	$(UV) pip install --quiet --python .venv-emulator/bin/python -r local/requirements-emulator.txt
	@touch $@

node_modules/done: package.json package-lock.json
	npm ci --silent --no-audit --no-fund
	@touch $@
