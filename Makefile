# make demo: run the demonstration; make test: lint, types and tests. Both do all the set-up.

PYTHON ?= python3
BIN := .venv/bin
SOURCES := pyproject.toml setup.py MANIFEST.in \
	$(shell find src -name '*.py' -o -name '*.[ch]' -o -name '*.csv' -o -path '*/assets/*')

# What runs once more with the reference in Python, which runs where there is no C compiler.
ENGINE_TESTS := $(patsubst %,tests/test_%.py,backward bad_input compiled_programs contexts copying \
	custom_gradient deep docs drawing engine_rules limits lines math nesting node plain_programs \
	random_graphs recording rules series transforms twins vmap walk zeros)

# And with the engine in C on the machine's other Pythons: without what only compares numbers, but
# with the calls of compiled functions, which are in C as well, and what is made of syntax trees.
PYTHONS_TESTS := tests/test_build.py::test_this_installation tests/test_small_calls.py \
	tests/test_rewriting.py $(filter-out \
	$(patsubst %,tests/test_%.py,compiled_programs docs plain_programs rules series zeros),$(ENGINE_TESTS))

# A finding ends the process. Leaks are not among them: Python itself keeps much to its end.
SANITIZERS := -g -DMOST_FREE=0 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined

# The tests' code, which pytest rewrites for 10 s, is kept for the runs that follow.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test types environments sanitize bench pictures pages clean

demo: .venv/demo
	$(BIN)/chainrule demo

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory --jobs=2 types environments
	$(BIN)/pytest -n auto --dist worksteal
	CHAINRULE_PURE=1 $(BIN)/pytest -n auto --dist worksteal -m "not whole" $(ENGINE_TESTS)
	$(BIN)/python tests/pythons.py .venv/pythons $(PYTHONS_TESTS)

types: .venv/test
	$(BIN)/mypy

environments: .venv/test
	$(BIN)/python tests/pythons.py .venv/pythons

sanitize: .venv/test
	CC=gcc CFLAGS="$(SANITIZERS)" LDFLAGS="$(SANITIZERS)" \
		$(BIN)/python setup.py --quiet build --build-base .venv/sanitized --build-lib .venv/sanitized/lib
	PYTHONPATH=.venv/sanitized/lib PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 \
		LD_PRELOAD="$$(for lib in asan ubsan stdc++; do gcc -print-file-name=lib$$lib.so; done | xargs)" \
		$(BIN)/pytest -n auto --dist worksteal $(ENGINE_TESTS) \
		tests/test_build.py::test_this_installation

bench: .venv/test
	$(BIN)/pip install --quiet -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/eager.py --plot benchmarks/eager.png
	$(BIN)/python benchmarks/compiled.py --plot benchmarks/compiled.png

pictures: .venv/test
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/explorer_pictures.py

pages: .venv/test
	$(BIN)/python tests/pages.py

# Installing takes minutes: a dot every three seconds, until the shell that runs the line is gone.
DOTS := (while sleep 3 && kill -0 $$$$ 2>/dev/null; do printf .; done) &

.venv/bin/pip:
	@echo "Making .venv"
	@$(DOTS) $(PYTHON) -m venv .venv && $(BIN)/pip install --quiet --upgrade pip; \
		done=$$?; echo; exit $$done

.venv/demo: .venv/bin/pip $(SOURCES)
	@echo "Installing chainrule with what the demonstration needs; the engine is compiled"
	@$(DOTS) $(BIN)/pip install --quiet '.[learn]'; done=$$?; echo; exit $$done
	@touch $@

.venv/test: .venv/bin/pip $(SOURCES)
	@echo "Installing chainrule with what its tests need; the engine is compiled"
	@$(DOTS) $(BIN)/pip install --quiet '.[test]'; done=$$?; echo; exit $$done
	@touch $@

clean:
	rm -rf .venv build chainrule-demo src/*.egg-info
