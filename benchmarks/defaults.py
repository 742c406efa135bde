# SPDX-License-Identifier: Apache-2.0
"""Settings of the baselines, compared on validation alone: what their defaults rest on.

    python benchmarks/defaults.py [--dataset ml1m|beauty]

Leave-one-out: models learn from all but each user's last two events and are asked for the last but one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from baselines import load
from desirepath.models.base import Model
from desirepath.models.ease import Ease, EaseConfig
from desirepath.models.factorisation import Bpr, BprConfig
from desirepath.models.neighbours import ItemKnn, ItemKnnConfig
from desirepath.training.holdout import mean_ndcg
from record import record

SETTINGS: dict[str, dict[str, Callable[[], Model]]] = {
    "item-knn half_life_events": {
        str(life): (lambda life=life: ItemKnn(ItemKnnConfig(half_life_events=life)))
        for life in (None, 1.0, 2.0, 4.0, 8.0)
    },
    "ease penalty": {
        str(penalty): (lambda penalty=penalty: Ease(EaseConfig(penalty=penalty)))
        for penalty in (30.0, 100.0, 300.0, 1000.0)
    },
    "bpr max_steps": {
        str(steps): (lambda steps=steps: Bpr(BprConfig(max_steps=steps)))
        for steps in (10_000_000, 20_000_000, 50_000_000)
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=("ml1m", "beauty"), default="ml1m")
    options = parser.parse_args()
    split = load(options.dataset)
    figures: dict[str, dict[str, float]] = {}
    for about, models in SETTINGS.items():
        figures[about] = {}
        for value, make in models.items():
            figure = mean_ndcg(make().fit(split.train), split.validation, hide_seen=True)
            figures[about][value] = round(figure, 5)
            print(about, value, figures[about][value], flush=True)
    protocol = "leave-one-out, validation NDCG@10, full ranking, seen items masked"
    record(f"defaults-{options.dataset}", {"protocol": protocol, "validation": figures})


if __name__ == "__main__":
    main()
