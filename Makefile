# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
NATIVE := pyproject.toml CMakeLists.txt python/native_build.py \
          $(wildcard firmware/include/vp/*.h firmware/wire/*.c firmware/topk/*.c firmware/image/*.c) \
          $(wildcard python/native/*.h python/native/*.c)

.PHONY: demo test lint clean

demo: $(VENV)/.ready-demo
	$(VENV)/bin/vp demo

test: $(VENV)/.ready-dev lint
	$(VENV)/bin/python -m pytest

lint: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check python converters hil_tests firmware
	$(VENV)/bin/ruff format --check -q python converters hil_tests firmware
	$(VENV)/bin/mypy

$(VENV)/.ready-%: $(NATIVE) tools/setup
	@PYTHON="$(PYTHON)" tools/setup "$(VENV)" "$*"

clean:
	rm -rf build $(VENV)
