"""How the variant mini is trained: settings by which it learns from a few hundred people in a minute on two cores."""

from trainer.network.keypoint_net import KEYPOINT_NET_FILE


def mini_recipe(steps: int) -> tuple[str, ...]:
    """Overrides for a training of `steps` steps of 32 people.

    From the backbone that finds keypoints, which stays as it is (decision 0026). The losses weigh angles and shape more
    than HSMR's, which are for millions of photos; extreme crops show too little to learn from in so short a time.
    """
    return (
        "network.variant=mini",
        f"network.backbone={KEYPOINT_NET_FILE}",
        "network.freeze_backbone=true",
        "data.global_batch=32",
        "data.augment.extreme_p=0",
        "loss.keypoints_2d=0.05",
        "loss.orient=0.05",
        "loss.body=0.02",
        "loss.betas=0.005",
        "optimizer.learning_rate=1e-3",
        "optimizer.weight_decay=0.01",
        f"optimizer.warm_up_steps={steps // 4}",
        "optimizer.decay=cosine",
        "optimizer.gradient_clip=1",
        "optimizer.ema_decay=0.99",
        *of_steps(steps),
    )


def of_steps(steps: int) -> tuple[str, ...]:
    """Overrides for a training of `steps` steps, however many people there are, with four validations on the way."""
    every = max(1, steps // 4)
    return (
        "schedule.epochs=1000000",
        f"schedule.max_steps={steps}",
        f"schedule.validate_every={every}",
        f"run.save_every={every}",
    )
