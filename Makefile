# `make demo` trains, `make test` tests; both make their virtual environment first.

VENV := .venv
PYTHON := $(VENV)/bin/python
# A program that is told to end has three seconds; so nothing else runs beside these tests.
ALONE := tests/experiments/test_program.py
# Those of programs that fail, are killed, stopped, closed or many times larger: `make faults`.
FAULTS := $(addprefix tests/experiments/test_,nodes.py killed_replay.py ray.py stalls.py \
	private_network.py three_hosts.py) tests/benchmarks/test_scale.py

# Else a folder of the package's name, such as a clone beside a script, would hide the package.
PATH_WINS := --config-settings editable_mode=compat

.PHONY: demo test faults chaos bench venv lock clean

demo: venv
	$(PYTHON) launch/train.py --env=gym:CartPole-v1 --num_frames=1000000 --evaluate_every=20000 \
		--target_return=475

test: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder \
		$(patsubst %,--ignore=%,$(ALONE) $(FAULTS))
	$(PYTHON) -m pytest $(ALONE)

faults: venv
	$(PYTHON) -m pytest $(FAULTS)

# A quarter of an hour; python -m tests.chaos --kills=3 --stops=2 is a short one.
chaos: venv
	$(PYTHON) -m tests.chaos

bench: venv
	$(PYTHON) -m benchmarks

venv: $(VENV)/.installed

# Made anew when what it installs has changed.
$(VENV)/.installed: requirements.lock setup.cfg pyproject.toml tools/find_python
	python="$$(sh tools/find_python)" && rm -rf $(VENV) && "$$python" -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --no-compile --requirement requirements.lock
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation $(PATH_WINS) --editable .
	$(PYTHON) -m compileall -q -j 0 $(VENV)/lib  # On all cores; pip would compile on one.
	touch $@

# Resolves the newest versions that setup.cfg allows and writes them down.
lock:
	python="$$(sh tools/find_python)" && rm -rf .venv-lock && "$$python" -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet '.[interop,ray,test]' setuptools wheel
	.venv-lock/bin/python -m pip freeze --all --exclude acme-impala --exclude pip > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf $(VENV)
