# make: the whole pipeline, shortened, on the built-in flowers. make test: every test. make flowers: the report's final
# model on the real photos. Each sets up .venv first.

PYTHON ?= python3
VENV = .venv/bin/python
SHORT = runs/short

.PHONY: short test flowers clean

short: .venv/installed
	$(VENV) train_autoencoder.py --dataset synthetic --epochs 8 --out $(SHORT)/autoencoder --overwrite
	$(VENV) train_classifier.py --dataset synthetic --epochs 8 --out $(SHORT)/classifier --overwrite
	$(VENV) evaluate.py --classifier $(SHORT)/classifier/classifier.pt --autoencoder $(SHORT)/autoencoder/autoencoder.pt
	@echo "pictures: $(SHORT)/autoencoder/reconstruction_008.png, and curve.png, confusion.png, confused.png, per_class.png in $(SHORT)/classifier/"

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
