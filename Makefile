# make test: every test. make flowers: the report's final model on the real photos. Both set up .venv first.

PYTHON ?= python3
VENV = .venv/bin/python

.PHONY: test flowers clean

test: .venv/installed
	$(VENV) -m pytest -q -o tmp_path_retention_policy=none tests

flowers: .venv/installed
	$(VENV) train_autoencoder.py
	$(VENV) train_classifier.py
	$(VENV) evaluate.py

.venv/installed: requirements.txt tests/requirements.txt
	$(PYTHON) -m venv --clear .venv
	$(VENV) -m pip install -q -r tests/requirements.txt
	touch .venv/installed

clean:
	rm -rf .venv .cache
