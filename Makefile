# make test: a fresh virtual environment, then every test. make flowers: the report's final model on the real photos.

PYTHON ?= python3
VENV = .venv/bin/python

.PHONY: test flowers clean

test:
	rm -rf .venv-test
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install -q -r tests/requirements.txt
	.venv-test/bin/python -m pytest -q tests

flowers: .venv/installed
	$(VENV) train_autoencoder.py
	$(VENV) train_classifier.py
	$(VENV) evaluate.py

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install -q -r requirements.txt
	touch .venv/installed

clean:
	rm -rf .venv .venv-test .cache
