# make: the whole pipeline, shortened, on thirty of the drawn species. make test: the linter and every test. make flowers: both
# stages on the real photos; called again, it resumes. Each makes .venv first. FLAGS go to all three scripts: make
# flowers FLAGS="--data-dir DIR"; TRAIN goes to both training scripts, HEAD to the second: make flowers TRAIN="--recipe report" HEAD=

PYTHON ?= python3
VENV = .venv/bin/python
SHORT = runs/short
HEAD = --head pooled
# the longest test files, to begin with: each runs on one core as a whole
LONGEST = tests/test_processes.py tests/test_scripts.py tests/test_distributed.py tests/test_limits.py
# modules once compiled are kept, whatever the environment says: a script starts in half the time
export PYTHONDONTWRITEBYTECODE =
resume = $(if $(wildcard $(1)/last.pt),--resume)

.PHONY: short test flowers clean

short: .venv/installed
	$(VENV) train_autoencoder.py --dataset synthetic-30 --epochs 3 --batch-size 16 --no-augment --out $(SHORT)/autoencoder --overwrite $(FLAGS)
	$(VENV) train_classifier.py --dataset synthetic-30 --epochs 35 --batch-size 16 --learning-rate 0.001 --no-augment \
		--head pooled --autoencoder $(SHORT)/autoencoder/autoencoder.pt --out $(SHORT)/classifier --overwrite $(FLAGS)
	$(VENV) evaluate.py --classifier $(SHORT)/classifier/classifier.pt --views 1 $(FLAGS)
	@echo "open $(SHORT)/autoencoder/reconstruction_003.png and $(SHORT)/classifier/confused.png; next, name the flower in a photo"
	@echo "of your own: $(VENV) predict.py --classifier $(SHORT)/classifier/classifier.pt PHOTO, or train on real ones: make flowers"

test: .venv/installed
	$(VENV) -m ruff check --quiet .
	OMP_NUM_THREADS=1 $(VENV) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder -o tmp_path_retention_policy=failed \
		$(LONGEST) $(filter-out $(LONGEST),$(wildcard tests/test_*.py))

flowers: .venv/installed
	$(VENV) train_autoencoder.py $(call resume,runs/autoencoder) $(TRAIN) $(FLAGS)
	$(VENV) train_classifier.py $(call resume,runs/classifier) $(HEAD) $(TRAIN) $(FLAGS)
	$(VENV) evaluate.py --autoencoder runs/autoencoder/autoencoder.pt $(FLAGS)

.venv/installed: requirements.txt tests/requirements.txt
	@echo "installing PyTorch and the rest of requirements.txt into .venv: some gigabytes, once"
	$(PYTHON) -m venv .venv
	$(VENV) -m pip install -q --no-compile -r tests/requirements.txt  # Python compiles what is imported, half a minute less
	touch .venv/installed

clean:
	rm -rf .venv .cache
