# make: the whole pipeline, shortened, on the drawn flowers. make test: the linter and every test. make flowers: both
# stages on the real photos; called again, it resumes. Each makes .venv first. FLAGS go to all three scripts: make
# flowers FLAGS="--data-dir DIR"; TRAIN goes to both training scripts: make flowers TRAIN="--recipe report".

PYTHON ?= python3
VENV = .venv/bin/python
SHORT = runs/short
# the longest test files, to begin with: each runs on one core as a whole
LONGEST = tests/test_processes.py tests/test_scripts.py tests/test_limits.py
# modules once compiled are kept, whatever the environment says: a script starts in half the time
export PYTHONDONTWRITEBYTECODE =
resume = $(if $(wildcard $(1)/last.pt),--resume)

.PHONY: short test flowers clean

short: .venv/installed
	$(VENV) train_autoencoder.py --dataset synthetic --epochs 5 --out $(SHORT)/autoencoder --overwrite $(FLAGS)
	$(VENV) train_classifier.py --dataset synthetic --epochs 25 --head pooled --out $(SHORT)/classifier --overwrite \
		--autoencoder $(SHORT)/autoencoder/autoencoder.pt $(FLAGS)
	$(VENV) evaluate.py --classifier $(SHORT)/classifier/classifier.pt --autoencoder $(SHORT)/autoencoder/autoencoder.pt \
		--views 1 $(FLAGS)
	@echo "pictures: $(SHORT)/autoencoder/reconstruction_005.png, and curve.png, confusion.png and confused.png in $(SHORT)/classifier/"

test: .venv/installed
	$(VENV) -m ruff check --quiet .
	OMP_NUM_THREADS=1 $(VENV) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder -o tmp_path_retention_policy=none \
		$(LONGEST) $(filter-out $(LONGEST),$(wildcard tests/test_*.py))

flowers: .venv/installed
	$(VENV) train_autoencoder.py $(call resume,runs/autoencoder) $(TRAIN) $(FLAGS)
	$(VENV) train_classifier.py $(call resume,runs/classifier) $(TRAIN) $(FLAGS)
	$(VENV) evaluate.py --autoencoder runs/autoencoder/autoencoder.pt $(FLAGS)

.venv/installed: requirements.txt tests/requirements.txt
	@echo "installing PyTorch and the rest of requirements.txt into .venv: some gigabytes, once"
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install -q --no-compile -r tests/requirements.txt  # Python compiles what is imported, half a minute less
	touch .venv/installed

clean:
	rm -rf .venv .cache
