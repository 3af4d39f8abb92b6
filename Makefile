# `make demo` trains, `make test` tests; both make their virtual environment first.

VENV := .venv
PYTHON := $(VENV)/bin/python
# Tests that take all cores, and of which some must end in time: one after the other.
PROGRAMS := $(addprefix tests/experiments/test_,launching.py lost_environments.py program.py \
	replay_runs.py single_process.py tasks.py) tests/benchmarks

.PHONY: demo test bench venv lock clean

demo: venv
	$(PYTHON) launch/train.py --env=gym:CartPole-v1 --num_frames=1000000 --evaluate_every=20000 \
		--target_return=475

test: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m pytest --numprocesses=2 --dist=loadfile $(PROGRAMS:%=--ignore=%)
	$(PYTHON) -m pytest $(PROGRAMS)

bench: venv
	$(PYTHON) -m benchmarks

venv: $(VENV)/.installed

# Made anew when what it installs has changed.
$(VENV)/.installed: requirements.lock setup.cfg pyproject.toml tools/find_python
	python="$$(sh tools/find_python)" && rm -rf $(VENV) && "$$python" -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --requirement requirements.lock
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Resolves the newest versions that setup.cfg allows and writes them down.
lock:
	python="$$(sh tools/find_python)" && rm -rf .venv-lock && "$$python" -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet '.[interop,ray,test]' setuptools wheel
	.venv-lock/bin/python -m pip freeze --all --exclude acme-impala --exclude pip > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) runs
