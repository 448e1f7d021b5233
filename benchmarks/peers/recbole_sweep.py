"""RecBole's search over 8 settings, one trial after another: recbole_sweep.py BPR|NeuMF EPOCHS.

MovieLens-100K as it comes with RecBole; the last item of each user tests, the one before validates after every epoch.
For `jaxrec benchmark case=start peer="PYTHON benchmarks/peers/recbole_sweep.py BPR 20"`, which times the whole process.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import torch
import yaml

name, epochs = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(len(os.sched_getaffinity(0)))
load = torch.load  # RecBole 1.2.1 loads its own checkpoints, which newer versions of torch refuse by default
torch.load = lambda *arguments, **options: load(*arguments, **{**options, "weights_only": False})

from recbole.quick_start import objective_function  # noqa: E402
from recbole.trainer import HyperTuning  # noqa: E402

dimension = {"BPR": "embedding_size", "NeuMF": "mf_embedding_size"}[name]
sys.argv = sys.argv[:1]  # RecBole reads its settings from there, too
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)  # it leaves logs where it runs
    settings = {
        "model": name,
        "dataset": "ml-100k",
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "epochs": epochs,
        "stopping_step": 1000,  # never
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "checkpoint_dir": folder,
    }
    Path("settings.yaml").write_text(yaml.safe_dump(settings))
    space = {"choice": {dimension: [32, 64], "learning_rate": [0.0005, 0.001, 0.005, 0.01]}}
    search = HyperTuning(
        objective_function,
        algo="exhaustive",
        early_stop=100,
        max_evals=8,
        params_dict=space,
        fixed_config_file_list=["settings.yaml"],
    )
    search.run()
best = max(result["best_valid_score"] for result in search.params2result.values())
print(json.dumps({"trials": len(search.params2result), "best": best}))
