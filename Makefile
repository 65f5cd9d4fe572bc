# Two commands do it all: `make demo` and `make test`. Both create .venv and install what they need into it.
PYTHON ?= python3
IN = .venv/bin/python
# A quiet machine reads warnings better; the install shows only those.
PIP = $(IN) -m pip install --quiet --constraint constraints.txt
CLDR = cldr-annotations-full-48.2.0
MESSAGES = homeassistant-2026.11.0-py3-none-any.whl

.PHONY: demo test torture check docs data study study-120 clean
.DELETE_ON_ERROR:

demo: .venv/offline.done  ## Train with a drift penalty on the embedded data; print the table and where the result is.
	$(IN) -m distxfer train recipe=drift_reg

test: .venv/dev.done  ## Run the whole test suite, two files at a time.
	OMP_NUM_THREADS=1 $(IN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

torture: .venv/dev.done  ## Damage, kill and fuzz in full: tests/torture and every test that is marked `torture` (ten minutes).
	OMP_NUM_THREADS=1 $(IN) -m pytest --torture --numprocesses 2 --no-loadscope-reorder

check: .venv/dev.done  ## Lint, types, import layers.
	$(IN) -m ruff check
	$(IN) -m ruff format --check
	$(IN) -m mypy
	.venv/bin/lint-imports

docs: .venv/docs.done  ## Build the site from docs/ into build/site; execute the tutorial; a broken link is an error.
	PYDEVD_DISABLE_FILE_VALIDATION=1 $(IN) -m sphinx --fail-on-warning --keep-going --quiet docs build/site

study: .venv/offline.done  ## Run what the reference study has not run yet (hours; can be stopped at any time), and write its tables.
	$(IN) -m studies.emoji.study

study-120: .venv/figures.done $(CLDR).tgz  ## The same on 120 languages; CLDR_ANNOTATIONS=FILE where that file is here already.
	$(IN) -m studies.emoji_120.study

$(CLDR).tgz:
	$(if $(CLDR_ANNOTATIONS),ln -s "$(abspath $(CLDR_ANNOTATIONS))" $@,npm pack --silent $(subst full-,full@,$(CLDR)))

data: .venv/offline.done $(MESSAGES)  ## Make the extract of `messages` anew from its wheel (68 MB, downloaded once); equal wheels, equal bytes.
	$(IN) -m studies.messages.extract $(MESSAGES)

$(MESSAGES): | .venv/pip.done
	$(IN) -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.14.2 homeassistant==2026.11.0

clean:  ## Remove the virtual environment and the caches of the tools.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/pip.done: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	touch .venv/pip.done

.venv/offline.done: .venv/pip.done
	$(PIP) --editable '.[offline]'
	touch .venv/offline.done

.venv/figures.done: .venv/pip.done
	$(PIP) --editable '.[offline,figures]'
	touch .venv/figures.done

.venv/docs.done: .venv/pip.done
	$(PIP) --editable '.[offline,docs]'
	touch .venv/docs.done

.venv/dev.done: .venv/pip.done
	$(PIP) --editable '.[offline,dev]'
	touch .venv/dev.done
